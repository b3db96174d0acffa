// Draws the charts of a page from the specification beside each, as they come near the screen, and puts a toolbar
// under them: saving as SVG and PNG, and pointing out one series. Where drawing fails the picture stays. What stands in
// a tab that is not shown has no width yet: it is drawn when it comes into sight.
(function () {
  "use strict";
  const MARGIN = "900px"; // a chart this near the screen is drawn
  const NARROW = 560; // pixels of room below which legends take one column
  const LEAST = 170; // a chart is not made narrower than this
  const LEAST_STEP = 36; // nor a column of cells: "(+0.50)" has to fit
  const { el, button, save } = polinb.dom;
  const charts = [...document.querySelectorAll("div.polinb-vega")]; // this script is deferred: the page is there

  async function draw(element) {
    if (element.dataset.state) return;
    element.dataset.state = "drawing";
    const source = element.querySelector("script.polinb-spec"), picture = element.querySelector("img.polinb-fallback");
    const host = el("div.polinb-chart", { style: "visibility:hidden" }); // laid out, but the picture is what is seen
    const scroller = el("div.polinb-scroll", host); // a chart that is too wide moves in here
    const inputs = el("div.polinb-inputs");
    try {
      if (!window.vegaEmbed) throw new Error("the Vega bundle is not loaded");
      const spec = JSON.parse(source.textContent), meta = spec.usermeta?.polinb || {};
      const { paddingLeft, paddingRight } = getComputedStyle(element);
      element.append(scroller, inputs);
      const room = element.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
      const view = await fitted(host, inputs, spec, room);
      picture.hidden = true;
      host.style.visibility = "";
      readable(host, view, picture.alt, element);
      bindings(inputs, view, meta);
      element.append(toolbar(element, spec, meta, view));
      element.dataset.state = "ready";
    } catch (error) {
      scroller.remove();
      inputs.remove();
      picture.hidden = false;
      element.dataset.state = "error";
      element.dataset.error = String(error);
      console.error("polinb chart:", error);
    }
  }

  // Draws, and where that is wider than the page, again with less: panels below each other, then narrower ones.
  // What still does not fit scrolls in its own box.
  async function fitted(host, inputs, spec, width) {
    if (width < NARROW) legends(spec);
    for (let turn = 0; ; turn++) {
      const options = { renderer: "svg", actions: false, logLevel: 1, bind: inputs };
      const { view } = await window.vegaEmbed(host, spec, options);
      const over = Math.ceil(host.querySelector("svg").getBoundingClientRect().width - width);
      if (turn === 2 || over <= 0 || !width || !narrower(spec, over, view)) return view;
      view.finalize();
      inputs.replaceChildren();
    }
  }

  function narrower(spec, over, view) {
    if (spec.facet && spec.columns > 1) return (spec.columns = 1);
    const parts = [spec, spec.spec, ...(spec.vconcat || [])].filter(Boolean);
    const stepped = parts.find(({ width }) => width?.step > LEAST_STEP);
    if (stepped) { // the cells of a heat map; the number in a cell must keep its room
      stepped.width.step = Math.max(LEAST_STEP, stepped.width.step - Math.ceil(over / view.scale("x").domain().length));
      return true;
    }
    const sized = parts.filter(({ width }) => width > LEAST);
    for (const part of sized) part.width = Math.max(LEAST, part.width - over);
    return sized.length > 0;
  }

  function legends(part) {
    for (const [key, value] of Object.entries(part)) {
      if (!value || typeof value !== "object" || key === "data" || key === "datasets") continue;
      if (key === "legend" && value.columns) value.columns = 1;
      legends(value);
    }
  }

  const told = (item) => (typeof item?.tooltip === "object"
    ? Object.entries(item.tooltip || {}).map(([name, value]) => name + ": " + value).join("; ") : "");

  // Arrow keys step through what a pointer would find: the values of one mark after the other, said below the chart.
  function readable(host, view, alt, element) {
    const label = alt + " Arrow keys read the values.";
    const named = { role: "application", "aria-roledescription": "chart", "aria-label": label, tabindex: 0 };
    for (const [name, value] of Object.entries(named)) host.setAttribute(name, value);
    const svg = host.querySelector("svg");
    svg.setAttribute("aria-hidden", "true"); // its text is that of the label
    svg.removeAttribute("role");
    const said = el("p.polinb-said", { role: "status" });
    element.append(said);
    let at = -1;
    const leave = () => host.querySelector(".polinb-current")?.classList.remove("polinb-current");
    function show(index) {
      const found = new Map(); // a number printed on a mark says the same as the mark: once is enough
      for (const node of host.querySelectorAll("svg path, svg rect, svg text, svg line")) {
        const text = told(node.__data__);
        if (text && !found.has(text)) found.set(text, node);
      }
      leave();
      if (!found.size) return;
      at = Math.max(0, Math.min(found.size - 1, index));
      const [text, node] = [...found][at];
      node.classList.add("polinb-current");
      said.textContent = text;
    }
    host.addEventListener("keydown", (event) => {
      if (event.target !== host || event.ctrlKey || event.altKey || event.metaKey) return;
      const arrows = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1 };
      const steps = { ...arrows, Home: 0, End: Infinity };
      if (event.key in steps) {
        event.preventDefault();
        show(steps[event.key]);
      } else if (event.key === "Escape") {
        leave();
        said.textContent = "";
        at = -1;
      }
    });
    host.addEventListener("blur", leave);
    // a finger has no pointer to rest on a mark
    view.addEventListener("click", (_, item) => { said.textContent = told(item) || said.textContent; });
  }

  // Sliders show what a step means, not its number.
  function bindings(inputs, view, { labels = {} }) {
    for (const [name, texts] of Object.entries(labels)) {
      const input = inputs.querySelector(`.vega-bind input[name="${name}"]`), shown = el("output.polinb-step");
      const tell = (_, step) => {
        shown.textContent = texts[step];
        input.setAttribute("aria-valuetext", texts[step]);
      };
      input.after(shown);
      tell(name, view.signal(name));
      view.addSignalListener(name, tell);
    }
  }

  function toolbar(element, spec, meta, view) {
    const { name } = element.dataset;
    // what a reader calls it: "figure 3.1", out of the caption; the reference run's figure has no number of its own
    const caption = element.closest("figure")?.querySelector(".caption-number");
    const called = caption ? "figure " + caption.textContent.match(/[\d.]*\d/)[0] : name;
    const saver = (kind, type, content) => {
      const text = kind.toUpperCase(), press = async () => save(`${name}.${kind}`, type, await content());
      const named = { "data-kind": kind, "aria-label": `Save ${called} as ${text}` };
      return button(text, press, { class: "polinb-save", ...named });
    };
    const png = () => view.toCanvas(2).then((canvas) => new Promise((done) => canvas.toBlob(done)));
    return el("div.polinb-tools", { role: "group", "aria-label": "Save this figure" },
      el("span", "Save as"), saver("svg", "image/svg+xml", () => view.toSVG()), saver("png", "image/png", png),
      highlighter(spec, meta.highlight, view));
  }

  // The same as a click on the legend, for those who cannot click there.
  function highlighter(spec, field, view) {
    const rows = Object.values(spec.datasets || {}).find((set) => set.length && field in set[0]) || [];
    const names = [...new Set(rows.map((row) => row[field]))];
    if (!field || names.length < 2) return null;
    const onchange = () => {
      const chosen = { unit: "", fields: [{ type: "E", field }], values: [names[chooser.value]] };
      view.data("highlight_store", chooser.value === "" ? [] : [chosen]).runAsync();
    };
    const chooser = el("select", { onchange }, el("option", { value: "" }, "all"),
      names.map((name, value) => el("option", { value }, String(name))));
    view.addDataListener("highlight_store", (_, store) => {
      const index = store?.length ? names.indexOf(store[0].values[0]) : -1;
      chooser.value = index < 0 ? "" : String(index);
    });
    return el("label.polinb-highlight", "Highlight ", chooser);
  }

  const all = () => charts.filter((element) => element.offsetParent).forEach(draw);
  const watcher = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) draw(target);
  }, { rootMargin: MARGIN });
  charts.slice(0, 1).forEach(draw);
  charts.forEach((element) => watcher.observe(element));
  window.addEventListener("beforeprint", all);
  window.polinbDrawAll = all;
})();
