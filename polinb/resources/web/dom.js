// What the interactive parts share: elements, numbers as text, text of models with all of its characters visible,
// files, the clipboard, and a part's state in the page's address. Text enters a page as text nodes only.
(function () {
  "use strict";
  const absent = (value) => value === undefined || value === null || value === false;

  // el("button.quiet.wide", { onclick: f, "aria-label": "…" }, child, "text"): the options may be left out, strings
  // become text nodes
  function el(kind, ...content) {
    const [tag, ...classes] = kind.split(".");
    const drawn = ["svg", "path", "rect", "line"].includes(tag);
    const node = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    const options = content[0]?.constructor === Object ? content.shift() : {};
    for (const [name, value] of Object.entries({ class: classes.join(" ") || null, ...options })) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (!absent(value)) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...content.flat(Infinity).filter((child) => !absent(child)));
    return node;
  }

  const button = (text, press, options) => el("button", { type: "button", onclick: press, ...options }, text);
  const field = (title, node) => el("label.field", el("span", title), node);

  // A menu under its title; choices: [value, text] pairs.
  const select = (title, name, choices, options) =>
    field(title, el("select", { name, ...options }, choices.map(([value, text]) => el("option", { value }, text))));

  // Table with a caption; rows: arrays whose first entry names the row. A drawing gets the class "plot".
  function table(caption, head, rows, options = {}) {
    const cell = (value) => el(value instanceof SVGElement ? "td.plot" : "td", value);
    const line = ([name, ...rest]) => el("tr", el("th", { scope: "row" }, name), rest.map(cell));
    return el("table", options, caption && el("caption", caption),
      el("thead", el("tr", head.map((text) => el("th", { scope: "col" }, text)))), el("tbody", rows.map(line)));
  }

  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\ufe00-\ufe0f]/gu;
  const spelt = (char) => "⟨U+" + char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";

  // Characters that could reorder or hide a text are spelt out; lines stay, or are marked in a text on one line.
  const visible = (text) =>
    String(text).replace(/\r\n?/g, "\n").replace(/\t/g, " ").replace(HIDDEN, (c) => (c === "\n" ? c : spelt(c)));
  const oneLine = (text) => visible(String(text).replace(/\t/g, "⇥")).replace(/\n/g, "⏎");
  const finite = Number.isFinite, minus = (text) => text.replace("-", "−");

  // three significant digits at most, no exponent for ordinary sizes
  function short(value) {
    if (!finite(value)) return "–";
    const size = Math.abs(value);
    if (size && (size < 1e-4 || size >= 1e7)) return minus(value.toExponential(1));
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
      return finite(value) && Number(text) > 0 ? "+" + text : text.replace(/^−(0(\.0*)?)$/, "$1");
    };
  }

  // 458752 → 458 752, with thin spaces that do not break
  const count = (value) => (finite(value) ? String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f") : "–");
  const many = (n, one) => count(n) + " " + (n === 1 ? one : one + "s");

  function save(name, type, content) {
    const link = el("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function csv(rows) {
    const cell = (value) => {
      if (typeof value !== "string") return absent(value) ? "" : String(value);
      // a spreadsheet must not take it for a formula
      const text = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? "'" + value : value;
      return '"' + text.replaceAll('"', '""') + '"';
    };
    return rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
  }

  // false: no right to the clipboard, or none there
  const copy = (text) =>
    Promise.resolve().then(() => navigator.clipboard.writeText(text)).then(() => true, () => false);

  // State in the address: mark + "topic=race&gamma=5"; what does not fit is ignored. first: the state without a
  // fragment; codecs: name → [text → value or undefined, value → text], in this order
  function address(mark, first, codecs) {
    const write = (state) => {
      const changed = Object.entries(codecs).filter(([name]) => state[name] !== first[name]);
      return mark + new URLSearchParams(changed.map(([name, [, text = String]]) => [name, text(state[name])]));
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
        const state = { ...first };
        for (const [name, text] of new URLSearchParams(location.hash.slice(mark.length))) {
          const value = Object.hasOwn(codecs, name) ? codecs[name][0](text) : undefined;
          if (value !== undefined) state[name] = value;
        }
        return state;
      },
      keep(state) {
        const hash = write(state);
        if (hash === mark && !location.hash.startsWith(mark)) return; // another anchor of the page stays
        try {
          history.replaceState(history.state, "", hash === mark ? location.pathname + location.search : hash);
        } catch {} // some local viewers forbid it, and browsers limit how often: the view works without it
      },
    };
  }

  const parts = { el, button, select, field, table, save, csv, copy, address };
  globalThis.polinb = { dom: { ...parts, visible, oneLine, finite, short, signed, fixed, column, count, many } };
})();
