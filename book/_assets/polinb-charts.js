// Draws the charts of a page from the specification beside each, as they come near the screen, and puts a toolbar
// under them: saving as SVG and PNG, and pointing out one series. Where drawing fails the picture stays.
// window.polinbDrawAll() draws every chart and gives a promise; element.dataset.state is drawing, ready or error.
// What stands in a tab that is not shown has no width yet: it is drawn when it comes into sight.
(function () {
  "use strict";

  const MARGIN = "900px"; // a chart this near the screen is drawn
  const NARROW = 560; // pixels of room below which legends take one column
  const LEAST = 170; // a chart is not made narrower than this
  const LEAST_STEP = 36; // nor a column of cells: "(+0.50)" has to fit
  const drawn = new WeakMap(); // element → promise of its drawing
  let charts = [];

  // --- drawing

  function draw(element) {
    if (!drawn.has(element)) drawn.set(element, begin(element));
    return drawn.get(element);
  }

  async function begin(element) {
    const source = element.querySelector("script.polinb-spec");
    if (!source) return;
    const picture = element.querySelector("img.polinb-fallback");
    const host = make("div", { className: "polinb-chart" });
    const scroller = make("div", { className: "polinb-scroll" }); // a chart that is too wide moves in here
    const inputs = make("div", { className: "polinb-inputs" });
    scroller.append(host);
    element.dataset.state = "drawing";
    try {
      if (!window.vegaEmbed) throw new Error("the Vega bundle is not loaded");
      const spec = JSON.parse(source.textContent);
      const meta = (spec.usermeta && spec.usermeta.polinb) || {};
      element.append(scroller, inputs);
      host.style.visibility = "hidden"; // laid out, but the picture is still what is seen
      const view = await fitted(host, inputs, spec, meta, room(element));
      element.polinbView = view;
      const name = label(element);
      if (picture) picture.hidden = true;
      host.style.visibility = "";
      readable(host, view, picture ? picture.alt : "chart", element);
      bindings(inputs, view, meta);
      element.appendChild(toolbar(element, spec, meta, view, name));
      element.dataset.state = "ready";
      performance.mark("polinb-chart-ready");
    } catch (error) {
      scroller.remove();
      inputs.remove();
      if (picture) picture.hidden = false;
      element.dataset.state = "error";
      element.dataset.error = String(error);
      console.error("polinb chart:", error);
    }
  }

  function room(element) {
    const style = getComputedStyle(element);
    return element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  }

  // Draws, and where that is wider than the page, again with less: panels below each other, then narrower ones.
  // What still does not fit scrolls in its own box.
  async function fitted(host, inputs, spec, meta, width) {
    const options = { renderer: "svg", actions: false, logLevel: 1, bind: inputs };
    if (width < NARROW) legends(spec);
    for (let turn = 0; ; turn++) {
      const view = (await window.vegaEmbed(host, spec, options)).view;
      const over = host.querySelector("svg").getBoundingClientRect().width - width;
      if (turn === 2 || over <= 0 || !width || !narrower(spec, over, view)) return view;
      view.finalize();
      inputs.replaceChildren();
    }
  }

  function narrower(spec, over, view) {
    if (spec.facet && spec.columns > 1) {
      spec.columns = 1;
      return true;
    }
    const stepped = [spec, spec.spec].find((part) => part && part.width && part.width.step > LEAST_STEP);
    if (stepped) { // the cells of a heat map; the number in a cell must keep its room
      stepped.width.step = Math.max(LEAST_STEP, stepped.width.step - Math.ceil(over / columns(view)));
      return true;
    }
    const sized = [spec, spec.spec, ...(spec.vconcat || [])].filter((part) => part && typeof part.width === "number");
    const before = sized.map((part) => part.width);
    sized.forEach((part) => { part.width = Math.max(LEAST, part.width - Math.ceil(over)); });
    return sized.some((part, i) => part.width !== before[i]);
  }

  function columns(view) {
    try {
      return view.scale("x").domain().length || 1;
    } catch {
      return 1; // no axis of that name
    }
  }

  function legends(part) {
    if (!part || typeof part !== "object") return;
    for (const [key, value] of Object.entries(part)) {
      if (key === "data" || key === "datasets") continue;
      if (key === "legend" && value && value.columns) value.columns = 1;
      legends(value);
    }
  }

  // --- reading with the keyboard

  // Arrow keys step through what a pointer would find: the values of one mark after the other, said below the chart.
  function readable(host, view, alt, element) {
    host.tabIndex = 0;
    host.setAttribute("role", "application");
    host.setAttribute("aria-roledescription", "chart");
    host.setAttribute("aria-label", alt + " Arrow keys read the values.");
    const svg = host.querySelector("svg");
    svg.setAttribute("aria-hidden", "true"); // its text is that of the label
    svg.removeAttribute("role");
    const said = make("p", { className: "polinb-said" });
    said.setAttribute("role", "status");
    element.appendChild(said);
    let at = -1;

    function marks() {
      const found = new Map(); // a number printed on a mark says the same as the mark: once is enough
      for (const node of host.querySelectorAll("svg path, svg rect, svg text, svg line")) {
        const tooltip = node.__data__ && node.__data__.tooltip;
        if (tooltip && typeof tooltip === "object" && !found.has(spoken(tooltip))) found.set(spoken(tooltip), node);
      }
      return [...found.values()];
    }

    function leave() {
      host.querySelectorAll(".polinb-current").forEach((node) => node.classList.remove("polinb-current"));
    }

    function show(index) {
      const found = marks();
      leave();
      if (!found.length) return;
      at = Math.max(0, Math.min(found.length - 1, index));
      found[at].classList.add("polinb-current");
      said.textContent = spoken(found[at].__data__.tooltip);
    }

    host.addEventListener("keydown", (event) => {
      if (event.target !== host || event.ctrlKey || event.altKey || event.metaKey) return;
      const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: Infinity };
      if (event.key === "Escape") {
        leave();
        said.textContent = "";
        at = -1;
      } else if (event.key in steps) {
        event.preventDefault();
        show(steps[event.key]);
      }
    });
    host.addEventListener("blur", leave);
    view.addEventListener("click", (event, item) => { // a finger has no pointer to rest on a mark
      if (item && item.tooltip && typeof item.tooltip === "object") said.textContent = spoken(item.tooltip);
    });
  }

  function spoken(tooltip) {
    return Object.entries(tooltip).map(([name, value]) => name + ": " + value).join("; ");
  }

  // Sliders show what a step means, not its number.
  function bindings(inputs, view, meta) {
    for (const [name, texts] of Object.entries(meta.labels || {})) {
      const input = inputs.querySelector('.vega-bind input[name="' + name + '"]');
      if (!input) continue;
      const shown = make("output", { className: "polinb-step" });
      input.insertAdjacentElement("afterend", shown);
      const tell = (step) => {
        shown.textContent = texts[step];
        input.setAttribute("aria-valuetext", texts[step]);
      };
      tell(view.signal(name));
      view.addSignalListener(name, (_, step) => tell(step));
    }
  }

  // --- the toolbar

  function toolbar(element, spec, meta, view, name) {
    const bar = make("div", { className: "polinb-tools" });
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Save this figure");
    const said = title(element) || name;
    const kinds = [
      ["SVG", "svg", "image/svg+xml", async () => view.toSVG()],
      ["PNG", "png", "image/png", async () => bitmap(await view.toCanvas(2))],
    ];
    bar.appendChild(make("span", { textContent: "Save as" }));
    for (const [text, ending, type, content] of kinds) {
      const button = make("button", { type: "button", textContent: text, className: "polinb-save" });
      button.dataset.kind = ending;
      button.setAttribute("aria-label", "Save " + said + " as " + text);
      button.addEventListener("click", async () => save(name + "." + ending, type, await content()));
      bar.appendChild(button);
    }
    const chooser = highlighter(spec, meta, view);
    if (chooser) bar.appendChild(chooser);
    return bar;
  }

  function bitmap(canvas) {
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  function save(name, type, content) {
    const address = URL.createObjectURL(new Blob([content], { type }));
    const link = make("a", { href: address, download: name });
    document.body.appendChild(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  // The same as a click on the legend, for those who cannot click there.
  function highlighter(spec, meta, view) {
    const field = meta.highlight;
    const names = field ? [...new Set(rows(spec, [field]).map((row) => row[field]))] : [];
    if (names.length < 2) return null;
    const chooser = make("select", {});
    chooser.append(...[["", "all"], ...names.map((n, i) => [String(i), String(n)])].map(([value, textContent]) =>
      make("option", { value, textContent })));
    chooser.addEventListener("change", () => {
      const chosen = chooser.value === "" ? [] : [{ unit: "", fields: [{ type: "E", field }], values: [names[chooser.value]] }];
      view.data("highlight_store", chosen).runAsync();
    });
    view.addDataListener("highlight_store", (_, store) => {
      const index = store && store.length ? names.indexOf(store[0].values[0]) : -1;
      chooser.value = index < 0 ? "" : String(index);
    });
    const label = make("label", { className: "polinb-highlight" });
    label.append("Highlight ", chooser);
    return label;
  }

  function rows(spec, fields) {
    const sets = Object.values(spec.datasets || {});
    const fits = (set) => set.length && fields.every((field) => field in set[0]);
    return sets.find(fits) || [];
  }

  // --- start

  function make(tag, properties) {
    return Object.assign(document.createElement(tag), properties);
  }

  function label(element) {
    return element.dataset.name || "figure-" + (charts.indexOf(element) + 1);
  }

  // What a reader calls it: "figure 3.1", out of the caption; the reference run's figure has no number of its own.
  function title(element) {
    const number = element.closest("figure") && element.closest("figure").querySelector(".caption-number");
    const digits = number && number.textContent.match(/[\d.]*\d/);
    return digits ? "figure " + digits[0] : "";
  }

  function all() {
    return Promise.all(charts.filter((element) => element.offsetParent).map(draw));
  }

  function start() {
    charts = [...document.querySelectorAll("div.polinb-vega")];
    if (!charts.length) return;
    draw(charts[0]);
    if (!window.IntersectionObserver) {
      all();
      return;
    }
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((e) => e.isIntersecting)) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    }, { rootMargin: MARGIN });
    charts.slice(1).forEach((element) => watcher.observe(element));
    window.addEventListener("beforeprint", all);
  }

  window.polinbDrawAll = () => (charts.length ? all() : (start(), all()));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
