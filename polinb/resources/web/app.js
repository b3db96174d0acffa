// Starts the interactive parts of a page: unpacks the data beside each and hands it to the script of its name.
// Those register with polinb.register(name, render), where render(root, payload, blobs) draws into root, an empty
// element; payload is the JSON, blobs a map name → Uint8Array.
(function () {
  "use strict";

  const apps = {};

  async function unpack(script) {
    const bytes = Uint8Array.from(atob(script.textContent.trim()), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function start(element) {
    element.dataset.state = "drawing";
    const root = document.createElement("div");
    root.className = "polinb-app-root";
    try {
      const render = apps[element.dataset.app];
      if (!render) throw new Error("no script for " + element.dataset.app);
      const blobs = {};
      for (const script of element.querySelectorAll("script.polinb-data")) blobs[script.dataset.name] = await unpack(script);
      const { payload, ...rest } = blobs;
      element.append(root);
      await render(root, JSON.parse(new TextDecoder().decode(payload)), rest);
      element.querySelector(".polinb-app-fallback").hidden = true;
      element.dataset.state = "ready";
    } catch (error) {
      root.remove();
      element.dataset.state = "error";
      element.dataset.error = String(error);
      console.error("polinb:", error);
    }
  }

  globalThis.polinb = { ...globalThis.polinb, register: (name, render) => { apps[name] = render; } };
  // deferred scripts run before this event, so every part has registered by then
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("div.polinb-app").forEach(start));
})();
