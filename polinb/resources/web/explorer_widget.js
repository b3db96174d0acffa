// The end of one module out of the page's scripts, for a live kernel; the page's address belongs to JupyterLab.
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
    const { buffer, byteOffset, byteLength } = model.get("blobs").levels || new Uint8Array(); // arrives as DataView
    const levels = new Uint8Array(buffer, byteOffset, byteLength);
    try {
      drawn = render(root, model.get("payload"), { levels }, { link: false, selected: told });
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
