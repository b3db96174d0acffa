// The end of one module out of the page's scripts, for a live kernel. The page's address is left alone: it belongs to
// JupyterLab. Bytes arrive as DataView.
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function inKernel({ model, el: root }) {
  let drawn = null;
  const told = (index, layer, neuron) => {
    const now = index === null ? [] : [layer, neuron];
    if (String(now) === String(model.get("selected"))) return;
    model.set("selected", now);
    model.save_changes();
  };
  const choose = () => {
    const [layer, neuron] = model.get("selected") || [];
    if (neuron !== undefined) drawn?.open(layer, neuron);
  };
  const draw = () => {
    drawn?.close();
    drawn = null;
    const blobs = Object.fromEntries(Object.entries(model.get("blobs")).map(([name, view]) => [name, bytes(view)]));
    try {
      drawn = render(root, model.get("payload"), blobs, { link: false, selected: told });
      choose();
    } catch (error) {
      root.replaceChildren(el("p", { role: "alert" }, String(error.message || error)));
    }
  };
  const heard = { "change:payload": draw, "change:blobs": draw, "change:selected": choose };
  for (const [name, hear] of Object.entries(heard)) model.on(name, hear);
  draw();
  return () => {
    drawn?.close();
    for (const [name, hear] of Object.entries(heard)) model.off(name, hear);
  };
}

export default { render: inKernel };
