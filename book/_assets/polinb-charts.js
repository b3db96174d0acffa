// Draws every chart of the page from the specification beside it; the picture stays where that fails.
(function () {
  "use strict";

  const options = {
    renderer: "svg",
    actions: { export: true, source: true, compiled: false, editor: false },
    downloadFileName: "polinb-chart",
  };

  async function draw(element) {
    const source = element.querySelector("script.polinb-spec");
    if (!source || element.dataset.state) return;
    element.dataset.state = "drawing";
    const host = document.createElement("div");
    try {
      if (!window.vegaEmbed) throw new Error("the Vega bundle is not loaded");
      element.appendChild(host);
      const result = await window.vegaEmbed(host, JSON.parse(source.textContent), options);
      element.polinbView = result.view;
      const picture = element.querySelector("img.polinb-fallback");
      if (picture) picture.hidden = true;
      element.dataset.state = "ready";
    } catch (error) {
      host.remove();
      element.dataset.state = "error";
      element.dataset.error = String(error);
      console.error("polinb chart:", error);
    }
  }

  function all() {
    document.querySelectorAll("div.polinb-vega").forEach(draw);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();
