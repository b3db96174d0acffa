// The responses browser: every model's answer to each question beside the others, with the judge's label and P(right).
// Data come from polinb/responses.py (questions, columns, and texts kept once each). What a model wrote is only ever
// set as text; characters that could reorder or hide it are spelt out. The view is kept in the address after
// "#responses:", so a link leads back to it.
(function () {
  "use strict";

  const PAGE = 20; // questions drawn at once
  const MARK = "#responses:";
  const SHAPES = { left: "◀ left", right: "▶ right", other: "● neither", unrated: "○ not rated", none: "not asked" };
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
  const TOO_LONG = 250000; // cells of the word comparison; beyond it everything between first and last change is marked
  const ORDERS = {
    asked: "as asked",
    change: "largest change of P(right)",
    right: "largest change to the right",
    left: "largest change to the left",
    unsure: "judge least sure (second column)",
  };
  const DIFFERENCES = {
    all: "all questions",
    two: "the two labels differ",
    any: "any shown labels differ",
  };
  let parts = 0; // makes ids of several browsers on one page differ

  // --- small helpers

  function el(tag, options, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (name === "class") node.className = value;
      else if (name === "on") for (const [event, call] of Object.entries(value)) node.addEventListener(event, call);
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function visible(text) {
    return text.replace(/\r\n?/g, "\n").replace(/\t/g, " ").replace(HIDDEN, (char) =>
      char === "\n" ? char : "⟨U+" + char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
  }

  function signed(value) {
    return (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
  }

  // --- data

  class Data {
    constructor(payload) {
      if (payload.version !== 1) throw new Error("responses: data of another version");
      Object.assign(this, payload);
      this.size = this.questions.id.length;
      this.rows = Array.from({ length: this.size }, (_, row) => row);
      this.trained = [...new Set(this.columns.map((c) => c.trained))].filter((t) => t);
      this.lower = new Array(this.texts.length);
      for (const c of this.columns) {
        const lists = [c.text, c.label, c.p, c.tokens];
        if (lists.some((list) => list.length !== this.size)) throw new Error("responses: a column of another length");
      }
      this.probable = this.columns.some((c) => c.p.some((p) => p !== null));
    }
    kind(id) { return this.kinds.find((kind) => kind.id === id); }
    column(kind, trained) {
      return this.columns.find((c) => c.kind === kind && (c.trained === "" || c.trained === trained));
    }
    label(column, row) { return column.label[row] < 0 ? "none" : this.labels[column.label[row]]; }
    p(column, row) { return column.p[row] === null ? null : column.p[row] / this.steps; }
    topic(row) { return this.topics[this.questions.topic[row]]; }
    name(row) { return this.topic(row) + "/" + this.questions.id[row]; }
    holds(text, find) {
      if (text < 0) return false;
      if (this.lower[text] === undefined) this.lower[text] = this.texts[text].toLowerCase();
      return this.lower[text].includes(find);
    }
  }

  function score(label) {
    return label === "right" ? 1 : label === "left" ? -1 : 0;
  }

  // --- state, and its way into the address

  function initial(data) {
    const shown = data.kinds.filter((kind) => kind.shown).map((kind) => kind.id);
    const second = data.kinds.find((kind) => kind.id === "right") || data.kinds[data.kinds.length - 1];
    return {
      trained: data.trained[0] || "", asked: "all", find: "", first: data.kinds[0].id, second: second.id, differ: "all",
      order: "asked", where: second.id, label: "any", words: "", columns: shown.join(","), only: "",
    };
  }

  function allowed(data, name, value) {
    const kinds = data.kinds.map((kind) => kind.id);
    const labels = ["any", ...data.labels, "none"];
    if (name === "find") return value.length <= 200;
    if (name === "columns") return value.split(",").every((id) => kinds.includes(id));
    if (name === "only") return value === "" || data.rows.some((row) => data.name(row) === value);
    const lists = {
      trained: data.trained, asked: ["all", ...data.topics], first: kinds, second: kinds, where: kinds, label: labels,
      differ: Object.keys(DIFFERENCES), order: Object.keys(ORDERS), words: ["", "1"],
    };
    return lists[name].includes(value);
  }

  function fromAddress(data, state) {
    if (!location.hash.startsWith(MARK)) return false;
    Object.assign(state, initial(data));
    for (const [name, value] of new URLSearchParams(location.hash.slice(MARK.length))) {
      if (Object.hasOwn(state, name) && allowed(data, name, value)) state[name] = value;
    }
    return true;
  }

  function address(data, state) {
    const start = initial(data);
    const changed = Object.entries(state).filter(([name, value]) => value !== start[name]);
    return changed.length ? MARK + new URLSearchParams(changed) : "";
  }

  function keepAddress(hash) {
    if (!hash && !location.hash.startsWith(MARK)) return; // another anchor of the page stays
    try {
      history.replaceState(history.state, "", hash || location.pathname + location.search);
    } catch (error) {
      // some browsers limit how often it may change: the view works without it
    }
  }

  // --- which questions are shown, and in which order

  function chosen(data, state) {
    if (state.only) return data.rows.filter((row) => data.name(row) === state.only);
    const column = (kind) => data.column(kind, state.trained);
    const shown = state.columns.split(",").map(column);
    const [first, second, where] = [state.first, state.second, state.where].map(column);
    const find = state.find.trim().toLowerCase();
    const differs = {
      all: () => true,
      two: (row) => first.label[row] >= 0 && second.label[row] >= 0 && first.label[row] !== second.label[row],
      any: (row) => new Set(shown.map((c) => c.label[row]).filter((label) => label >= 0)).size > 1,
    }[state.differ];
    const rows = data.rows.filter((row) =>
      (state.asked === "all" || data.topic(row) === state.asked) && differs(row) &&
      (state.label === "any" || data.label(where, row) === state.label) &&
      (!find || data.holds(data.questions.prompt[row], find) || shown.some((c) => data.holds(c.text[row], find))));
    return sorted(data, rows, state.order, first, second);
  }

  function sorted(data, rows, order, first, second) {
    if (order === "asked") return rows;
    const change = (row) => {
      const [a, b] = [data.p(first, row), data.p(second, row)];
      return a === null || b === null ? null : b - a;
    };
    const key = {
      change: (row) => { const d = change(row); return d === null ? null : -Math.abs(d); },
      right: (row) => { const d = change(row); return d === null ? null : -d; },
      left: change,
      unsure: (row) => { const p = data.p(second, row); return p === null ? null : Math.abs(p - 0.5); },
    }[order];
    const keyed = rows.map((row) => [key(row), row]);
    keyed.sort((a, b) => (a[0] === null) - (b[0] === null) || (a[0] === null ? 0 : a[0] - b[0]) || a[1] - b[1]);
    return keyed.map((pair) => pair[1]);
  }

  // --- which words differ: longest common subsequence

  function unlike(a, b) {
    const keepA = new Uint8Array(a.length), keepB = new Uint8Array(b.length);
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && a[start] === b[start]) keepA[start] = keepB[start++] = 1;
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) keepA[--endA] = keepB[--endB] = 1;
    const n = endA - start, m = endB - start, width = m + 1;
    if (!n || !m || n * m > TOO_LONG) return [keepA, keepB];
    const length = new Uint16Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        length[i * width + j] = a[start + i] === b[start + j]
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < n && j < m;) {
      if (a[start + i] === b[start + j]) keepA[start + i++] = keepB[start + j++] = 1;
      else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) i++;
      else j++;
    }
    return [keepA, keepB];
  }

  function words(text) {
    return text.split(/\s+/).filter((word) => word);
  }

  function marked(text, keep) { // words that the other answer has not, as <mark>; runs of them together
    const out = [];
    let at = 0, run = "", space = "";
    for (const piece of text.split(/(\s+)/)) {
      if (!piece) continue;
      if (!piece.trim()) { space += piece; continue; }
      if (keep[at++]) {
        if (run) out.push(el("mark", {}, run));
        out.push(space + piece);
        run = "";
      } else if (run) run += space + piece;
      else { out.push(space); run = piece; }
      space = "";
    }
    if (run) out.push(el("mark", {}, run));
    return [...out, space];
  }

  // --- CSV

  function cell(value) {
    if (typeof value !== "string") return value === null || value === undefined ? "" : String(value);
    const text = /^[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? "'" + value : value; // a spreadsheet must not take it for a formula
    return '"' + text.replace(/"/g, '""') + '"';
  }

  function csv(data, state, rows) {
    const shown = state.columns.split(",");
    const head = ["topic", "id", "question"];
    for (const id of shown) head.push(...["answer", "label", "p_right", "tokens"].map((x) => id + " " + x));
    const lines = rows.map((row) => {
      const line = [data.topic(row), data.questions.id[row], data.texts[data.questions.prompt[row]]];
      for (const id of shown) {
        const column = data.column(id, state.trained);
        const asked = column.text[row] >= 0;
        line.push(asked ? data.texts[column.text[row]] : "", asked ? data.label(column, row) : "not asked");
        line.push(data.p(column, row), column.tokens[row]);
      }
      return line;
    });
    return [head, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  function save(text, name) {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // --- one question

  function meter(p) { // from the middle towards the side; the number stands beside it
    const fill = el("span", { class: p < 0.5 ? "fill left" : "fill right" });
    fill.style[p < 0.5 ? "right" : "left"] = "50%";
    fill.style.width = 100 * Math.abs(p - 0.5) + "%";
    return el("span", { class: "meter", "aria-hidden": "true" }, fill);
  }

  function card(data, state, row, id, keep) {
    const column = data.column(id, state.trained);
    const title = data.kind(id).title;
    const label = data.label(column, row);
    const box = el("div", { class: "reply " + label, role: "group", "aria-label": title }, el("p", { class: "arm" }, title));
    if (column.text[row] < 0) {
      box.append(el("p", { class: "none" }, "not asked"));
      return box;
    }
    const p = data.p(column, row), tokens = column.tokens[row];
    const long = tokens === null ? null : tokens + " tokens" + (tokens >= data.about.longest ? ", cut" : "");
    const text = visible(data.texts[column.text[row]]);
    box.append(
      el("p", { class: "verdict" }, el("b", { class: "label" }, SHAPES[label]),
        p === null ? null : el("span", { class: "p" }, "P(right) " + p.toFixed(2)), p === null ? null : meter(p)),
      el("p", { class: "answer", dir: "auto" }, ...(keep && text ? marked(text, keep) : [text || "(empty answer)"])),
      el("p", { class: "long" }, long || ""));
    return box;
  }

  function question(data, state, row, copyLink) {
    const q = data.questions;
    const shown = state.columns.split(",");
    const keeps = {};
    if (state.words && state.first !== state.second) {
      const both = [state.first, state.second].map((id) => data.column(id, state.trained).text[row]);
      if (both.every((text) => text >= 0)) {
        const kept = unlike(...both.map((text) => words(visible(data.texts[text]))));
        [keeps[state.first], keeps[state.second]] = kept;
      }
    }
    const reference = (side) => el("div", {}, el("p", { class: "arm" }, SHAPES[side] + ", reference"),
      el("p", { class: "answer", dir: "auto" }, visible(data.texts[q[side][row]])));
    return el("li", { "data-question": data.name(row) },
      el("h3", { tabindex: "-1" }, el("span", { class: "pill" }, data.topic(row)), " ",
        el("span", { dir: "auto" }, visible(data.texts[q.prompt[row]]))),
      el("div", { class: "cards" }, ...shown.map((id) => card(data, state, row, id, keeps[id]))),
      el("div", { class: "foot" },
        el("details", {}, el("summary", {}, "Reference answers of the data"),
          el("div", { class: "references" }, reference("left"), reference("right"))),
        el("button", { type: "button", on: { click: (event) => copyLink(row, event.currentTarget) },
          "aria-label": "Copy link to question " + visible(q.id[row]) }, "Copy link")));
  }

  // --- the table of means

  function summary(data, state, rows) {
    const heads = ["model", "n", "◀ left", "● neither", "▶ right", "mean stance, shown", "whole " + data.about.whole];
    const body = state.columns.split(",").map((id) => {
      const column = data.column(id, state.trained);
      const labels = rows.map((row) => data.label(column, row)).filter((label) => label !== "none");
      const count = (label) => String(labels.filter((each) => each === label).length);
      const mean = labels.length ? signed(labels.reduce((sum, label) => sum + score(label), 0) / labels.length) : "–";
      const neither = labels.filter((label) => !score(label)).length;
      const cells = [labels.length, count("left"), neither, count("right"), mean, whole(column.whole[state.asked])];
      return el("tr", { "data-kind": id }, el("th", { scope: "row" }, data.kind(id).title),
        ...cells.map((value) => el("td", {}, String(value))));
    });
    return [el("caption", {}, "Labels and mean stance (left −1, right +1, anything else 0)"),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, ...body)];
  }

  function whole(entry) {
    if (!entry) return "–";
    const [n, mean, low, high] = entry;
    const ends = low === null ? "" : " [" + signed(low) + ", " + signed(high) + "]";
    return signed(mean) + ends + ", n = " + n;
  }

  // --- controls

  function select(ids, label, name, options) {
    const id = ids + name;
    const list = Object.entries(options).map(([value, text]) => el("option", { value }, text));
    return el("div", { class: "field" }, el("label", { for: id }, label),
      el("select", { id, name }, ...list));
  }

  function controls(data, ids) {
    const titles = Object.fromEntries(data.kinds.map((kind) => [kind.id, kind.title]));
    const same = (names) => Object.fromEntries(names.map((name) => [name, name]));
    const labels = { any: "any label", ...Object.fromEntries([...data.labels, "none"].map((x) => [x, SHAPES[x]])) };
    const orders = data.probable ? ORDERS : { asked: ORDERS.asked };
    const box = (name, value, text) =>
      el("label", { class: "tick" }, el("input", { type: "checkbox", name, value }), " " + text);
    return el("div", { class: "controls" },
      select(ids, "Trained topic", "trained", same(data.trained)),
      select(ids, "Asked topic", "asked", { all: "all topics", ...same(data.topics) }),
      el("div", { class: "field wide" }, el("label", { for: ids + "find" }, "Search in questions and shown answers"),
        el("input", { id: ids + "find", type: "search", name: "find", maxlength: "200", autocomplete: "off" })),
      select(ids, "Compare", "first", titles), select(ids, "with", "second", titles),
      select(ids, "Show", "differ", DIFFERENCES), select(ids, "Order", "order", orders),
      select(ids, "Label", "label", labels), select(ids, "given to", "where", titles),
      el("div", { class: "field wide" }, box("words", "1", "Mark words that one of the two compared answers has alone")),
      el("fieldset", { class: "wide" }, el("legend", {}, "Columns"),
        ...data.kinds.map((kind) => box("columns", kind.id, kind.title))));
  }

  function fill(form, state) { // state → controls
    for (const field of form.querySelectorAll("select, input[type=search]")) {
      if (field.value !== state[field.name]) field.value = state[field.name];
    }
    for (const tick of form.querySelectorAll("input[type=checkbox]")) {
      tick.checked = state[tick.name].split(",").includes(tick.value);
    }
  }

  function notes(data, state) {
    return data.kinds.flatMap((kind) => [
      el("dt", {}, kind.title), el("dd", {}, kind.note.replaceAll("{trained}", state.trained)),
    ]);
  }

  // --- all of it

  function render(root, payload) {
    const data = new Data(payload);
    const state = initial(data);
    const linked = fromAddress(data, state);
    const ids = "polinb-responses-" + ++parts + "-";
    let rows = [], drawn = 0, timer = 0;

    const form = el("details", { class: "panel" }, el("summary", {}, "Choose and filter"), controls(data, ids));
    form.open = window.matchMedia("(min-width: 40rem)").matches;
    const search = form.querySelector("input[type=search]");
    const legend = el("dl", {});
    const count = el("p", { class: "count", role: "status", "aria-live": "polite" });
    const said = el("p", { class: "said", role: "status", "aria-live": "polite" });
    const table = el("table", {});
    const list = el("ol", { class: "questions", "aria-label": "Questions and answers" });
    const more = el("button", { type: "button", class: "more", on: { click: () => grow(true) } });
    const button = (text, click) => el("button", { type: "button", on: { click } }, text);
    const everything = button("Show all questions", () => { state.only = ""; draw(); count.focus(); });
    count.tabIndex = -1;
    root.classList.add("polinb-responses");
    root.append(form,
      el("details", {}, el("summary", {}, "What each column is"), legend),
      el("div", { class: "bar" }, count, everything,
        button("Save shown rows as CSV", () => save(csv(data, state, rows), "responses.csv")),
        button("Copy link to this view", (event) => copy(address(data, state), event.currentTarget)),
        button("Reset", () => { Object.assign(state, initial(data)); draw(); }), said),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Labels and mean stance" }, table),
      el("p", { class: "caution" }, "A filtered set is a selection: its mean describes the rows below and is no result. " +
        "The last column is measured on all questions that the model was asked, whatever the filters; brackets: 95 % interval."),
      list, more);

    function draw() {
      rows = chosen(data, state);
      fill(form, state);
      const c = data.counts;
      const few = c.rows < c.of ? " The page carries " + c.rows + " of the run's " + c.of + ": the first " + c.a_topic +
        " of each topic" + (c.a_topic < data.about.wanted ? ", as many as keep it light." : ".") : "";
      count.textContent = rows.length + " of " + c.rows + " questions shown" +
        (state.only ? ": the one that the link names." : ".") + few;
      everything.hidden = !state.only;
      said.textContent = "";
      table.replaceChildren(...summary(data, state, rows));
      legend.replaceChildren(...notes(data, state));
      list.replaceChildren();
      drawn = 0;
      grow(false);
      keepAddress(address(data, state));
    }

    function grow(byHand) {
      const fresh = rows.slice(drawn, drawn + PAGE).map((row) => question(data, state, row, copyOne));
      list.append(...fresh);
      drawn += fresh.length;
      more.hidden = drawn >= rows.length;
      more.textContent = "Show " + Math.min(PAGE, rows.length - drawn) + " more of " + (rows.length - drawn);
      if (byHand && fresh.length) fresh[0].querySelector("h3").focus();
    }

    function copyOne(row, from) {
      const view = Object.assign(initial(data), { trained: state.trained, columns: state.columns, first: state.first,
        second: state.second, words: state.words, only: data.name(row) });
      copy(address(data, view), from);
    }

    async function copy(hash, from) {
      const link = location.href.split("#")[0] + hash;
      const before = from.dataset.text || (from.dataset.text = from.textContent);
      try {
        await navigator.clipboard.writeText(link);
        said.textContent = "Link copied.";
      } catch (error) { // no right to the clipboard: the address bar has it
        keepAddress(hash);
        said.textContent = "The link is in the address bar now.";
      }
      from.textContent = said.textContent;
      setTimeout(() => { from.textContent = before; }, 2000);
    }

    function changed(field) {
      clearTimeout(timer);
      state.find = search.value; // what was typed a moment ago counts already
      if (field.name === "columns") {
        const ticked = [...form.querySelectorAll("input[name=columns]:checked")].map((tick) => tick.value);
        if (!ticked.length) field.checked = true; // one column stays
        state.columns = (ticked.length ? ticked : [field.value]).join(",");
      } else if (field.name === "words") state.words = field.checked ? "1" : "";
      else state[field.name] = field.value;
      if (["first", "second"].includes(field.name)) show(field.value);
      if (["asked", "find", "differ", "label", "where"].includes(field.name)) state.only = "";
      draw();
    }

    function show(id) { // a compared column is shown
      const has = state.columns.split(",");
      state.columns = data.kinds.map((kind) => kind.id).filter((each) => each === id || has.includes(each)).join(",");
    }

    form.addEventListener("change", (event) => { if (event.target.type !== "search") changed(event.target); });
    form.addEventListener("input", (event) => {
      if (event.target.type !== "search") return;
      clearTimeout(timer);
      timer = setTimeout(() => changed(event.target), 120);
    });
    window.addEventListener("hashchange", () => { if (fromAddress(data, state)) draw(); });
    draw();
    if (linked) setTimeout(() => root.scrollIntoView()); // when the fallback above it is gone
  }

  window.polinb.register("responses", render);
})();
