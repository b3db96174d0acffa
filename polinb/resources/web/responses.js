// The responses browser: every model's answer to each question beside the others, with the judge's label and P(right).
// Data come from display/responses.py (questions, columns, and texts kept once each). What a model wrote is only ever
// set as text. The view is kept in the address after "#responses:", so a link leads back to it.

const { el, button, select, table, visible, fixed, save, csv, address } = polinb.dom;
const PAGE = 20; // questions drawn at once
const SHAPES = { left: "◀ left", right: "▶ right", other: "● neither", unrated: "○ not rated", none: "not asked" };
const ORDERS = {
  asked: "as asked",
  change: "largest change of P(right)",
  right: "largest change to the right",
  left: "largest change to the left",
  unsure: "judge least sure (second column)",
};
const DIFFERENCES = { all: "all questions", two: "the two labels differ", any: "any shown labels differ" };

const stance = (value) => (value > 0 ? "+" : "") + fixed(value, 2);

// --- data

class Data {
  constructor(payload) {
    if (payload.version !== 1) throw new Error("responses: data of another version");
    Object.assign(this, payload);
    this.rows = [...this.questions.id.keys()];
    this.ids = this.kinds.map((kind) => kind.id);
    this.trained = [...new Set(this.columns.map((c) => c.trained))].filter(Boolean);
    this.lower = this.texts.map((text) => text.toLowerCase());
    const lists = this.columns.flatMap((c) => [c.text, c.label, c.p, c.tokens]);
    if (lists.some(({ length }) => length !== this.rows.length)) throw new Error("responses: a column of another length");
  }
  kind(id) { return this.kinds.find((kind) => kind.id === id); }
  column(id, trained) { return this.columns.find((c) => c.kind === id && ["", trained].includes(c.trained)); }
  shown(state) { return state.columns.split(",").map((id) => [id, this.column(id, state.trained)]); }
  label(column, row) { return column.label[row] < 0 ? "none" : this.labels[column.label[row]]; }
  p(column, row) { return column.p[row] === null ? null : column.p[row] / this.steps; }
  text(column, row) { return column.text[row] < 0 ? "" : this.texts[column.text[row]]; }
  question(row) { return this.texts[this.questions.prompt[row]]; }
  topic(row) { return this.topics[this.questions.topic[row]]; }
  name(row) { return this.topic(row) + "/" + this.questions.id[row]; }
  holds(text, find) { return text >= 0 && this.lower[text].includes(find); }
}

// --- state, and its way into the address

function initial({ ids, kinds, trained }) {
  const second = ids.includes("right") ? "right" : ids.at(-1);
  const columns = kinds.filter((kind) => kind.shown).map((kind) => kind.id).join(",");
  return {
    trained: trained[0] || "", asked: "all", find: "", first: ids[0], second, differ: "all",
    order: "asked", where: second, label: "any", words: "", columns, only: "",
  };
}

function stateLink(data) {
  const { ids, trained, topics, labels, rows } = data;
  const when = (allowed) => [(text) => (allowed(text) ? text : undefined)];
  const among = (list) => when((text) => list.includes(text));
  return address("#responses:", initial(data), {
    trained: among(trained),
    asked: among(["all", ...topics]),
    find: when((text) => text.length <= 200),
    first: among(ids),
    second: among(ids),
    differ: among(Object.keys(DIFFERENCES)),
    order: among(Object.keys(ORDERS)),
    where: among(ids),
    label: among(["any", ...labels, "none"]),
    words: among(["", "1"]),
    columns: when((text) => text.split(",").every((id) => ids.includes(id))),
    only: among(["", ...rows.map((row) => data.name(row))]),
  });
}

// --- which questions are shown, and in which order

function chosen(data, state) {
  if (state.only) return data.rows.filter((row) => data.name(row) === state.only);
  const shown = data.shown(state).map(([, column]) => column), find = state.find.trim().toLowerCase();
  const [first, second, where] = [state.first, state.second, state.where].map((id) => data.column(id, state.trained));
  const compared = { all: [], two: [first, second], any: shown }[state.differ];
  const differs = (row) => new Set(compared.map((c) => c.label[row]).filter((label) => label >= 0)).size > 1;
  const rows = data.rows.filter((row) =>
    (state.asked === "all" || data.topic(row) === state.asked) && (!compared.length || differs(row)) &&
    (state.label === "any" || data.label(where, row) === state.label) &&
    (!find || [data.questions.prompt, ...shown.map((c) => c.text)].some((texts) => data.holds(texts[row], find))));
  if (state.order === "asked") return rows;
  const key = (row) => {
    const [a, b] = [data.p(first, row), data.p(second, row)];
    if (b === null || (a === null && state.order !== "unsure")) return Infinity;
    return { change: -Math.abs(b - a), right: a - b, left: b - a, unsure: Math.abs(b - 0.5) }[state.order];
  };
  const keys = new Map(rows.map((row) => [row, key(row)]));
  return rows.sort((i, j) => keys.get(i) - keys.get(j) || i - j); // last what has no P(right): ∞ − ∞ is no number
}

// --- which words differ

// Longest common subsequence: which words of each the other has too.
function shared(a, b) {
  const width = b.length + 1, length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i * width + j] = a[i] === b[j]
        ? length[(i + 1) * width + j + 1] + 1
        : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
  const keepA = new Uint8Array(a.length), keepB = new Uint8Array(b.length);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) keepA[i++] = keepB[j++] = 1;
    else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) i++;
    else j++;
  }
  return [keepA, keepB];
}

// By id of a compared column, which of its words to keep; nothing where words are not marked.
function keptWords(data, { words, first, second, trained }, row) {
  const both = [first, second].map((id) => data.column(id, trained));
  if (!words || first === second || both.some((column) => column.text[row] < 0)) return {};
  const [a, b] = shared(...both.map((column) => visible(data.text(column, row)).split(/\s+/).filter(Boolean)));
  return { [first]: a, [second]: b };
}

// a text whose words that are not kept stand in <mark>
function marked(text, keep) {
  let at = 0;
  return text.split(/(\s+)/).map((piece) => (!piece.trim() || keep[at++] ? piece : el("mark", piece)));
}

// --- one question

// from the middle towards the side; the number stands beside it
function meter(p) {
  const [side, from] = p < 0.5 ? ["left", "right"] : ["right", "left"];
  const style = `${from}:50%;width:${100 * Math.abs(p - 0.5)}%`;
  return el("span.meter", { "aria-hidden": "true" }, el("span.fill." + side, { style }));
}

const answer = (content) => el("p.answer", { dir: "auto" }, content);

function card(data, [id, column], row, keep) {
  const { title } = data.kind(id), label = data.label(column, row), text = visible(data.text(column, row));
  const p = data.p(column, row), tokens = column.tokens[row];
  const long = tokens === null ? "" : tokens + " tokens" + (tokens >= data.about.longest ? ", cut" : "");
  return el("div.reply." + label, { role: "group", "aria-label": title }, el("p.arm", title),
    column.text[row] < 0 ? el("p.none", "not asked") : [
      el("p.verdict", el("b.label", SHAPES[label]), p !== null && [el("span.p", "P(right) " + p.toFixed(2)), meter(p)]),
      answer(keep && text ? marked(text, keep) : text || "(empty answer)"),
      el("p.long", long),
    ]);
}

function question(data, state, row, copyLink) {
  const keeps = keptWords(data, state, row), { questions } = data;
  const reference = (side) => el("div", el("p.arm", SHAPES[side] + ", reference"),
    answer(visible(data.texts[questions[side][row]])));
  return el("li", { "data-question": data.name(row) },
    el("h3", { tabindex: "-1" }, el("span.pill", data.topic(row)), " ",
      el("span", { dir: "auto" }, visible(data.question(row)))),
    el("div.cards", data.shown(state).map((pair) => card(data, pair, row, keeps[pair[0]]))),
    el("div.foot",
      el("details", el("summary", "Reference answers of the data"),
        el("div.references", reference("left"), reference("right"))),
      button("Copy link", copyLink, { "aria-label": "Copy link to question " + visible(questions.id[row]) })));
}

// --- the table of means, and the rows as a file

function summary(data, state, rows) {
  const shown = data.shown(state);
  const heads = ["model", "n", "◀ left", "● neither", "▶ right", "mean stance, shown", "whole " + data.about.whole];
  const body = shown.map(([id, column]) => {
    const labels = rows.map((row) => data.label(column, row)).filter((label) => label !== "none"), n = labels.length;
    const [left, right] = ["left", "right"].map((side) => labels.filter((label) => label === side).length);
    const mean = n ? stance((right - left) / n) : "–";
    return [data.kind(id).title, n, left, n - left - right, right, mean, whole(column.whole[state.asked])];
  });
  const made = table("Labels and mean stance (left −1, right +1, anything else 0)", heads, body);
  shown.forEach(([id], i) => { made.tBodies[0].rows[i].dataset.kind = id; });
  return made;
}

function whole(entry) {
  if (!entry) return "–";
  const [n, mean, low, high] = entry;
  return stance(mean) + (low === null ? "" : ` [${stance(low)}, ${stance(high)}]`) + ", n = " + n;
}

function file(data, state, rows) {
  const shown = data.shown(state);
  const head = shown.flatMap(([id]) => ["answer", "label", "p_right", "tokens"].map((what) => id + " " + what));
  const line = (row) => [data.topic(row), data.questions.id[row], data.question(row), ...shown.flatMap(([, c]) =>
    [data.text(c, row), c.text[row] < 0 ? "not asked" : data.label(c, row), data.p(c, row), c.tokens[row]])];
  return csv([["topic", "id", "question", ...head], ...rows.map(line)]);
}

// --- controls

function controls(data) {
  const titles = data.kinds.map((kind) => [kind.id, kind.title]);
  const same = (names) => names.map((name) => [name, name]);
  const labels = [["any", "any label"], ...[...data.labels, "none"].map((name) => [name, SHAPES[name]])];
  const probable = data.columns.some((c) => c.p.some((p) => p !== null));
  const box = (name, value, text) => el("label.tick", el("input", { type: "checkbox", name, value }), " " + text);
  return el("div.controls",
    select("Trained topic", "trained", same(data.trained)),
    select("Asked topic", "asked", [["all", "all topics"], ...same(data.topics)]),
    el("label.field.wide", el("span", "Search in questions and shown answers"),
      el("input", { type: "search", name: "find", maxlength: "200", autocomplete: "off" })),
    select("Compare", "first", titles), select("with", "second", titles),
    select("Show", "differ", Object.entries(DIFFERENCES)),
    select("Order", "order", Object.entries(ORDERS).slice(0, probable ? undefined : 1)),
    select("Label", "label", labels), select("given to", "where", titles),
    el("div.wide", box("words", "1", "Mark words that one of the two compared answers has alone")),
    el("fieldset.wide", el("legend", "Columns"), titles.map((pair) => box("columns", ...pair))));
}

// state → controls
function fill(form, state) {
  for (const field of form.querySelectorAll("select, input")) {
    const value = state[field.name];
    if (field.type === "checkbox") field.checked = value.split(",").includes(field.value);
    else if (field.value !== value) field.value = value;
  }
}

// --- all of it

function render(root, payload) {
  const data = new Data(payload), link = stateLink(data), linked = link.read();
  let state = linked || initial(data), rows = [], drawn = 0, timer = 0;

  const form = el("details.panel", { open: matchMedia("(min-width: 40rem)").matches },
    el("summary", "Choose and filter"), controls(data));
  const search = form.querySelector("input[type=search]");
  const legend = el("dl"), list = el("ol.questions", { "aria-label": "Questions and answers" });
  const means = el("div.scroll", { tabindex: "0", role: "region", "aria-label": "Labels and mean stance" });
  const count = el("p.count", { role: "status", "aria-live": "polite", tabindex: "-1" });
  const said = el("p.said", { role: "status", "aria-live": "polite" });
  const more = button("", () => grow(true), { class: "more" });
  const everything = button("Show all questions", () => {
    show({ ...state, only: "" });
    count.focus();
  });
  const saveShown = () => save("responses.csv", "text/csv;charset=utf-8", file(data, state, rows));
  root.classList.add("px", "polinb-responses");
  root.append(form,
    el("details", el("summary", "What each column is"), legend),
    el("div.bar", count, everything, button("Save shown rows as CSV", saveShown),
      button("Copy link to this view", (event) => share(state, event.currentTarget)),
      button("Reset", () => show(initial(data))), said),
    means,
    el("p.caution", "A filtered set is a selection: its mean describes the rows below and is no result. The last " +
      "column is measured on all questions that the model was asked, whatever the filters; brackets: 95 % interval."),
    list, more);

  function show(view) {
    state = view;
    rows = chosen(data, state);
    fill(form, state);
    const { rows: carried, of, a_topic: each } = data.counts;
    const why = each < data.about.wanted ? ", as many as keep it light." : ".";
    count.textContent = `${rows.length} of ${carried} questions shown` +
      (state.only ? ": the one that the link names." : ".") +
      (carried < of ? ` The page carries ${carried} of the run's ${of}: the first ${each} of each topic${why}` : "");
    everything.hidden = !state.only;
    said.textContent = "";
    means.replaceChildren(summary(data, state, rows));
    const note = (kind) => [el("dt", kind.title), el("dd", kind.note.replaceAll("{trained}", state.trained))];
    legend.replaceChildren(...data.kinds.flatMap(note));
    list.replaceChildren();
    drawn = 0;
    grow(false);
    link.keep(state);
  }

  function grow(byHand) {
    const made = (row) => question(data, state, row, (event) => copyOne(row, event.currentTarget));
    const fresh = rows.slice(drawn, drawn + PAGE).map(made);
    list.append(...fresh);
    drawn += fresh.length;
    more.hidden = drawn >= rows.length;
    more.textContent = `Show ${Math.min(PAGE, rows.length - drawn)} more of ${rows.length - drawn}`;
    if (byHand) fresh[0].querySelector("h3").focus();
  }

  function copyOne(row, from) {
    const { trained, columns, first, second, words } = state;
    share({ ...initial(data), trained, columns, first, second, words, only: data.name(row) }, from);
  }

  async function share(view, from) {
    from.dataset.text ??= from.textContent;
    from.textContent = said.textContent = await link.share(view);
    setTimeout(() => { from.textContent = from.dataset.text; }, 2000);
  }

  function changed({ name, type, value, checked }) {
    clearTimeout(timer);
    const next = { ...state, find: search.value }; // what was typed a moment ago counts already
    next[name] = type === "checkbox" ? (checked ? value : "") : value;
    if (name === "columns") {
      const ticked = [...form.querySelectorAll("input[name=columns]:checked")].map((tick) => tick.value);
      next.columns = ticked.join(",") || value; // one column stays
    }
    if (["first", "second"].includes(name)) // a compared column is shown
      next.columns = data.ids.filter((id) => [...state.columns.split(","), value].includes(id)).join(",");
    if (["asked", "find", "differ", "label", "where"].includes(name)) next.only = "";
    show(next);
  }

  form.addEventListener("change", ({ target }) => { if (target !== search) changed(target); });
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => changed(search), 120);
  });
  addEventListener("hashchange", () => {
    const view = link.read();
    if (view) show(view);
  });
  show(state);
  if (linked) setTimeout(() => root.scrollIntoView()); // when the fallback above it is gone
}
