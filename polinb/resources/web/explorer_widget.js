// The end of one module out of the page's scripts, which hang what they export on globalThis.polinbExplorer, for a live
// kernel. The page's address is left alone: it belongs to JupyterLab. Bytes arrive as DataView.
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function render({ model, el }) {
  let drawn = null;
  const told = (index, layer, neuron) => {
    const now = index === null ? [] : [layer, neuron];
    if (String(now) === String(model.get("selected"))) return;
    model.set("selected", now);
    model.save_changes();
  };
  const choose = () => {
    const [layer, neuron] = model.get("selected") || [];
    if (drawn && neuron !== undefined) drawn.open(layer, neuron);
  };
  const draw = () => {
    if (drawn) drawn.close();
    drawn = null;
    const blobs = Object.fromEntries(Object.entries(model.get("blobs")).map(([name, view]) => [name, bytes(view)]));
    try {
      drawn = globalThis.polinbExplorer.render(el, model.get("payload"), blobs, { link: false, selected: told });
      choose();
    } catch (error) {
      const said = document.createElement("p");
      said.setAttribute("role", "alert");
      said.textContent = String(error.message || error);
      el.replaceChildren(said);
    }
  };
  model.on("change:payload", draw);
  model.on("change:blobs", draw);
  model.on("change:selected", choose);
  draw();
  return () => {
    if (drawn) drawn.close();
    model.off("change:payload", draw);
    model.off("change:blobs", draw);
    model.off("change:selected", choose);
  };
}

export default { render };
