// The browser's own slider and a number field for exact values: both with labels, which the slider of ipywidgets lacks.
function render({ model, el }) {
  const make = (type, text, event) => {
    const [label, name, input] = ["label", "span", "input"].map((tag) => document.createElement(tag));
    Object.assign(input, { type, step: 0.05 });
    name.textContent = text;
    label.append(name, input);
    label.className = "polinb-slider";
    input.addEventListener(event, () => {
      model.set("value", Math.min(Math.max(Number(input.value), model.get("min")), model.get("max")));
      model.save_changes();
      draw();
    });
    el.append(label);
    return input;
  };
  const inputs = [make("range", model.get("description"), "input"), make("number", "Exact value", "change")];
  const draw = () => {
    const [min, max, value] = ["min", "max", "value"].map((name) => model.get(name));
    for (const input of inputs) Object.assign(input, { min, max, value });
  };
  model.on("change", draw);
  draw();
  return () => model.off("change", draw);
}
export default { render };
