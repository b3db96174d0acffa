// Starts the interactive parts of a page: unpacks the data beside each and hands it to the script of its name.
// Those register with window.polinb.register(name, render), where render(root, payload, blobs) draws into root,
// an empty element; payload is the JSON, blobs a map name → Uint8Array. Text is set with textContent only.
(function () {
  "use strict";

  const apps = {};

  async function unpack(script) {
    const raw = atob(script.textContent.trim());
    const bytes = Uint8Array.from(raw, (char) => char.charCodeAt(0));
    if (!window.DecompressionStream) throw new Error("this browser is too old to unpack the data (DecompressionStream)");
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function start(element) {
    if (element.dataset.state) return;
    element.dataset.state = "drawing";
    const root = document.createElement("div");
    root.className = "polinb-app-root";
    try {
      const render = apps[element.dataset.app];
      if (!render) throw new Error("no script for " + element.dataset.app);
      const blobs = {};
      for (const script of element.querySelectorAll("script.polinb-data")) {
        blobs[script.dataset.name] = await unpack(script);
      }
      const payload = JSON.parse(new TextDecoder().decode(blobs.payload));
      delete blobs.payload;
      element.appendChild(root);
      await render(root, payload, blobs);
      const fallback = element.querySelector(".polinb-app-fallback");
      if (fallback) fallback.hidden = true;
      element.dataset.state = "ready";
    } catch (error) {
      root.remove();
      element.dataset.state = "error";
      element.dataset.error = String(error);
      console.error("polinb:", error);
    }
  }

  function all() {
    document.querySelectorAll("div.polinb-app").forEach(start);
  }

  window.polinb = { register: (name, render) => { apps[name] = render; }, apps };
  // deferred scripts run before this event, so every part has registered by then
  if (document.readyState === "complete") all();
  else document.addEventListener("DOMContentLoaded", all);
})();
