// Small parts of the neuron explorer: elements, numbers, tokens as visible text, rows of dots. Text from models
// enters the page here only, and only as text nodes.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const SVG = "http://www.w3.org/2000/svg";

  // el("button", {class: "x", onclick: f, "aria-label": "…"}, child, "text"): strings become text nodes
  function el(tag, options, ...children) {
    return fill(document.createElement(tag), options, children);
  }

  function svg(tag, options, ...children) {
    return fill(document.createElementNS(SVG, tag), options, children);
  }

  function fill(node, options, children) {
    for (const [name, value] of Object.entries(options || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return node;
  }

  const finite = (value) => typeof value === "number" && Number.isFinite(value);
  const minus = (text) => text.replace("-", "−");

  // three significant digits at most, no exponent for ordinary sizes
  function short(value) {
    if (!finite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) return minus(value.toExponential(1));
    return minus(String(size >= 100 ? Math.round(value) : Number(value.toPrecision(3))));
  }

  const signed = (value) => (finite(value) && value > 0 ? "+" : "") + short(value);
  const fixed = (value, digits) => (finite(value) ? minus(value.toFixed(digits)) : "–");
  // Printer for numbers of one column: as many decimals for all as give the largest three digits.
  function column(values) {
    const top = Math.max(0, ...values.filter(finite).map(Math.abs));
    const digits = top ? Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(top)))) : 0;
    return (value) => {
      const text = fixed(value, digits);
      return finite(value) && value > 0 && Number(text) > 0 ? "+" + text : text.replace(/^−(0(\.0*)?)$/, "$1");
    };
  }

  // 458752 → 458 752, with thin spaces that do not break
  const count = (value) => (finite(value) ? String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f") : "–");
  const many = (n, one, more) => count(n) + " " + (n === 1 ? one : more || one + "s");

  // A token with all of its characters visible: ⏎ for a newline, a picture or a code for what has no shape.
  function visible(token) {
    return String(token)
      .replace(/\r?\n/g, "⏎")
      .replace(/\t/g, "⇥")
      .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\ufe00-\ufe0f]/gu, (c) => "‹" + c.codePointAt(0).toString(16) + "›");
  }

  // A token standing alone: spaces at its ends become thin gaps that can be seen.
  function tokenChip(token) {
    const text = visible(token);
    const inner = text.trim();
    const gap = (n) => Array.from({ length: n }, () => el("span", { class: "nx-gap" }, "\u00a0"));
    if (!inner) return el("bdi", { class: "nx-token" }, gap(text.length || 1));
    const lead = text.indexOf(inner),
      tail = text.length - lead - inner.length;
    return el("bdi", { class: "nx-token" }, gap(lead), inner, gap(tail));
  }

  const SHAPES = {
    square: "M-4.2,-4.2H4.2V4.2H-4.2Z",
    triangle: "M0,-5.4L5,4H-5Z",
    diamond: "M0,-5.6L5.6,0L0,5.6L-5.6,0Z",
  };

  function shape(name, className) {
    if (name === "circle") return svg("circle", { r: 4.4, class: className });
    return svg("path", { d: SHAPES[name], class: className });
  }

  // Range of the finite numbers given, widened a little and never empty.
  function range(values, withZero) {
    const known = values.filter(finite).concat(withZero ? [0] : []);
    if (!known.length) return [0, 1];
    const low = Math.min(...known),
      high = Math.max(...known);
    return high > low ? [low, high] : [low - 1, high + 1];
  }

  // One row of a plot: bars, bands, whiskers and dots on a common range. The numbers stand beside it as text.
  // items: {bar: v} | {band: [a, b]} | {line: [a, b]} | {tick: v} | {dot: v, shape}, each with a class
  function plotRow([low, high], items) {
    const place = (v) => 3 + (94 * (Math.min(high, Math.max(low, v)) - low)) / (high - low);
    const out = svg("svg", { class: "nx-plot", "aria-hidden": "true", focusable: "false" });
    if (low <= 0 && high >= 0)
      out.append(svg("line", { x1: place(0) + "%", x2: place(0) + "%", y1: 0, y2: "100%", class: "nx-zero" }));
    for (const item of items) {
      if (item.bar !== undefined && finite(item.bar)) {
        const a = place(Math.min(0, item.bar)),
          b = place(Math.max(0, item.bar));
        out.append(
          svg("rect", { x: a + "%", width: Math.max(0.4, b - a) + "%", y: "25%", height: "50%", class: item.class }),
        );
      } else if (item.band && item.band.every(finite)) {
        const [a, b] = item.band.map(place);
        out.append(
          svg("rect", { x: a + "%", width: Math.max(0.4, b - a) + "%", y: 0, height: "100%", class: item.class }),
        );
      } else if (item.line && item.line.every(finite)) {
        out.append(
          svg("line", {
            x1: place(item.line[0]) + "%",
            x2: place(item.line[1]) + "%",
            y1: "50%",
            y2: "50%",
            class: item.class,
          }),
        );
      } else if (item.tick !== undefined && finite(item.tick)) {
        out.append(
          svg("line", {
            x1: place(item.tick) + "%",
            x2: place(item.tick) + "%",
            y1: "8%",
            y2: "92%",
            class: item.class,
          }),
        );
      } else if (item.dot !== undefined && finite(item.dot)) {
        const holder = svg("svg", { x: place(item.dot) + "%", y: "50%", overflow: "visible" });
        holder.append(shape(item.shape || "circle", item.class));
        out.append(holder);
      }
    }
    return out;
  }

  const glyph = (name, className) =>
    svg("svg", { class: "nx-glyph", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, shape(name, className));

  // Table with a caption; head: strings; rows: arrays whose first entry names the row.
  function table(caption, head, rows, className) {
    const cell = (value) =>
      el("td", { class: value instanceof Node && value.tagName === "svg" ? "nx-plotcell" : "" }, value);
    return el(
      "table",
      { class: "nx-table " + (className || "") },
      el("caption", {}, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          head.map((text) => el("th", { scope: "col", class: text.startsWith("←") ? "nx-middle" : null }, text)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map(([name, ...rest]) => el("tr", {}, el("th", { scope: "row" }, name), rest.map(cell))),
      ),
    );
  }

  Object.assign(X, {
    el,
    svg,
    finite,
    short,
    signed,
    fixed,
    column,
    count,
    many,
    visible,
    tokenChip,
    range,
    plotRow,
    glyph,
    table,
  });
})();
