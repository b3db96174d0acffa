// What the interactive parts share: elements, numbers as text, text of models with all of its characters visible, files,
// the clipboard, and a part's state in the page's address. Text enters a page as text nodes only.
(function () {
  "use strict";

  const polinb = (globalThis.polinb = globalThis.polinb || {});

  // el("button", {class: "x", onclick: f, "aria-label": "…"}, child, "text"): strings become text nodes
  const el = (tag, options, ...children) => fill(document.createElement(tag), options, children);
  const svg = (tag, options, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), options, children);

  function fill(node, options, children) {
    for (const [name, value] of Object.entries(options || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  const button = (text, press, options) => el("button", { type: "button", onclick: press, ...options }, text);

  // A menu under its title; choices: [value, text] pairs.
  function select(title, name, choices, options) {
    const node = el("select", { name, ...options }, choices.map(([value, text]) => el("option", { value }, text)));
    return field(title, node);
  }
  const field = (title, node) => el("label", { class: "field" }, el("span", {}, title), node);

  // Table with a caption; rows: arrays whose first entry names the row. A drawing gets the class "plot".
  function table(caption, head, rows, options) {
    const cell = (value) => el("td", { class: value instanceof SVGElement && "plot" }, value);
    const line = ([name, ...rest]) => el("tr", {}, el("th", { scope: "row" }, name), rest.map(cell));
    return el("table", options, caption && el("caption", {}, caption),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows.map(line)));
  }

  // --- text

  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\ufe00-\ufe0f]/gu;
  const spelt = (char) => "⟨U+" + char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";

  // Characters that could reorder or hide a text are spelt out; lines stay, or are marked in a text on one line.
  const visible = (text) =>
    String(text).replace(/\r\n?/g, "\n").replace(/\t/g, " ").replace(HIDDEN, (c) => (c === "\n" ? c : spelt(c)));
  const oneLine = (text) => visible(String(text).replace(/\t/g, "⇥")).replace(/\n/g, "⏎");

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

  const signed = (value, text = short(value)) => (finite(value) && value > 0 ? "+" : "") + text;
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
  const many = (n, one) => count(n) + " " + (n === 1 ? one : one + "s");

  // --- files and clipboard

  function save(name, type, content) {
    const link = el("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function csv(rows) {
    const cell = (value) => {
      if (typeof value !== "string") return value === null || value === undefined ? "" : String(value);
      // a spreadsheet must not take it for a formula
      const text = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? "'" + value : value;
      return '"' + text.replace(/"/g, '""') + '"';
    };
    return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  // false: no right to the clipboard, or none there
  const copy = (text) => Promise.resolve().then(() => navigator.clipboard.writeText(text)).then(() => true, () => false);

  // --- state in the address: mark + "topic=race&gamma=5"; what does not fit is ignored

  // start(): the state without a fragment; codecs: name → [value → text, text → value or undefined], in this order
  function address(mark, start, codecs) {
    const write = (state) => {
      const first = start();
      const changed = Object.entries(codecs).filter(([name]) => state[name] !== first[name]);
      return mark + new URLSearchParams(changed.map(([name, [text]]) => [name, text(state[name])]));
    };
    return {
      // puts a link to the view into the clipboard, else into the address; what to tell
      async share(state) {
        if (await copy(location.href.split("#")[0] + write(state))) return "Link copied.";
        this.keep(state);
        return "The link is in the address bar now.";
      },
      read() {
        if (!location.hash.startsWith(mark)) return null;
        const state = start();
        for (const [name, text] of new URLSearchParams(location.hash.slice(mark.length))) {
          const value = Object.hasOwn(codecs, name) ? codecs[name][1](text) : undefined;
          if (value !== undefined) state[name] = value;
        }
        return state;
      },
      keep(state) {
        const hash = write(state);
        if (hash === mark && !location.hash.startsWith(mark)) return; // another anchor of the page stays
        try {
          history.replaceState(history.state, "", hash === mark ? location.pathname + location.search : hash);
        } catch {
          // some local viewers forbid it, and browsers limit how often: the view works without it
        }
      },
    };
  }

  polinb.dom = {
    ...{ el, svg, button, select, field, table, visible, oneLine, finite, short, signed, fixed, column, count, many },
    ...{ save, csv, copy, address },
  };
})();
