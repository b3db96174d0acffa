// The browser's own slider and a number field for exact values: both with labels, which the slider of ipywidgets lacks.
function render({ model, el }) {
  const make = (type, text) => {
    const label = document.createElement("label");
    const name = document.createElement("span");
    const input = document.createElement("input");
    input.type = type;
    input.step = 0.05;
    name.textContent = text;
    label.append(name, input);
    label.className = "polinb-slider";
    input.addEventListener(type === "range" ? "input" : "change", () => {
      const asked = Number(input.value);
      model.set("value", Math.min(Math.max(asked, model.get("min")), model.get("max")));
      model.save_changes();
      draw();
    });
    el.append(label);
    return input;
  };
  const inputs = [make("range", model.get("description")), make("number", "Exact value")];
  const draw = () => {
    for (const input of inputs) {
      for (const bound of ["min", "max"]) input[bound] = model.get(bound);
      input.value = model.get("value");
    }
  };
  model.on("change", draw);
  draw();
  return () => model.off("change", draw);
}

export default { render };
