// The responses browser: every model's answer to each question beside the others, with the judge's label and P(right).
// Data come from display/responses.py. What a model wrote is only ever set as text. The address keeps the view.

const { el, button, select, table, visible, fixed, save, csv, address } = polinb.dom;
const PAGE = 20; // questions drawn at once
const SHAPES = { left: "◀ left", right: "▶ right", other: "● neither", unrated: "○ not rated", none: "not asked" };
const ORDERS = {
  ...{ asked: "as asked", change: "largest change of P(right)", right: "largest change to the right" },
  ...{ left: "largest change to the left", unsure: "judge least sure (second column)" },
};
const DIFFERENCES = { all: "all questions", two: "the two labels differ", any: "any shown labels differ" };
const NOT_ASKED = { text: "", label: "none", p: null, tokens: null };
const stance = (value) => (value > 0 ? "+" : "") + fixed(value, 2);

// The payload with its questions as `rows`, and for each column the cells: what its model answered to them.
function unpacked(payload) {
  const { version, kinds, questions, texts, topics, labels, steps } = payload;
  if (version !== 1) throw new Error("responses: data of another version");
  const rows = questions.id.map((id, i) => {
    const [prompt, left, right] = ["prompt", "left", "right"].map((name) => texts[questions[name][i]]);
    const topic = topics[questions.topic[i]];
    return { i, id, topic, name: topic + "/" + id, prompt, left, right };
  });
  const columns = payload.columns.map(({ text, label, p, tokens, ...column }) => {
    const uneven = [text, label, p, tokens].some((list) => list.length !== rows.length);
    if (uneven) throw new Error("responses: a column of another length");
    const answered = (at, i) =>
      ({ text: texts[at], label: labels[label[i]], p: p[i] === null ? null : p[i] / steps, tokens: tokens[i] });
    const { title } = kinds.find(({ id }) => id === column.kind);
    return { ...column, title, cells: text.map((at, i) => (at < 0 ? NOT_ASKED : answered(at, i))) };
  });
  const trained = [...new Set(columns.map((column) => column.trained))].filter(Boolean);
  return { ...payload, rows, columns, trained, ids: kinds.map((kind) => kind.id) };
}

// the columns of these kinds, as they are for the trained topic of a view
const columnsOf = (data, kinds, { trained }) =>
  kinds.map((kind) => data.columns.find((each) => each.kind === kind && ["", trained].includes(each.trained)));
const shownIn = (data, view) => columnsOf(data, view.columns.split(","), view);

function initial({ ids, kinds, trained }) {
  const second = ids.includes("right") ? "right" : ids.at(-1);
  const columns = kinds.filter((kind) => kind.shown).map((kind) => kind.id).join(",");
  const filters = { asked: "all", find: "", differ: "all", order: "asked", label: "any", words: "", only: "" };
  return { trained: trained[0] || "", first: ids[0], second, where: second, columns, ...filters };
}

function stateLink(data) {
  const { ids, trained, topics, labels, rows } = data;
  const when = (allowed) => [(text) => (allowed(text) ? text : undefined)];
  const among = (list) => when((text) => list.includes(text));
  return address("#responses:", initial(data), {
    ...{ trained: among(trained), asked: among(["all", ...topics]), find: when((text) => text.length <= 200) },
    ...{ first: among(ids), second: among(ids), differ: among(Object.keys(DIFFERENCES)) },
    ...{ order: among(Object.keys(ORDERS)), where: among(ids), label: among(["any", ...labels, "none"]) },
    ...{ words: among(["", "1"]), columns: when((text) => text.split(",").every((id) => ids.includes(id))) },
    only: among(["", ...rows.map((row) => row.name)]),
  });
}

// The questions that are shown under a view, in order.
function chosen(data, state) {
  if (state.only) return data.rows.filter((row) => row.name === state.only);
  const shown = shownIn(data, state), find = state.find.trim().toLowerCase();
  const [first, second, where] = columnsOf(data, [state.first, state.second, state.where], state);
  const compared = { all: [], two: [first, second], any: shown }[state.differ];
  const labels = ({ i }) => compared.map(({ cells }) => cells[i].label).filter((label) => label !== "none");
  const texts = (row) => [row.prompt, ...shown.map(({ cells }) => cells[row.i].text)];
  const rows = data.rows.filter((row) =>
    (state.asked === "all" || row.topic === state.asked) && (!compared.length || new Set(labels(row)).size > 1) &&
    (state.label === "any" || where.cells[row.i].label === state.label) &&
    (!find || texts(row).some((text) => text.toLowerCase().includes(find))));
  if (state.order === "asked") return rows;
  const key = ({ i }) => {
    const [a, b] = [first.cells[i].p, second.cells[i].p];
    if (b === null || (a === null && state.order !== "unsure")) return Infinity;
    return { change: -Math.abs(b - a), right: a - b, left: b - a, unsure: Math.abs(b - 0.5) }[state.order];
  };
  const keys = new Map(rows.map((row) => [row, key(row)]));
  return rows.sort((a, b) => keys.get(a) - keys.get(b) || a.i - b.i); // last what has no P(right): ∞ − ∞ is no number
}

// Which words of each the other has too: their longest common subsequence.
function shared(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1)), kept = [[], []];
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  for (let i = 0, j = 0; i < a.length && j < b.length;)
    if (a[i] === b[j]) kept[0][i++] = kept[1][j++] = true;
    else if (length[i + 1][j] >= length[i][j + 1]) i++;
    else j++;
  return kept;
}

// By id of a compared column, which of its words to keep; nothing where words are not marked.
function keptWords(data, view, { i }) {
  const both = columnsOf(data, [view.first, view.second], view).map(({ cells }) => cells[i]);
  if (!view.words || view.first === view.second || both.includes(NOT_ASKED)) return {};
  const [a, b] = shared(...both.map(({ text }) => visible(text).split(/\s+/).filter(Boolean)));
  return { [view.first]: a, [view.second]: b };
}

// a text whose words that are not kept stand in <mark>
function marked(text, keep) {
  let at = 0;
  return text.split(/(\s+)/).map((piece) => (!piece.trim() || keep[at++] ? piece : el("mark", piece)));
}

// from the middle towards the side; the number stands beside it
function meter(p) {
  const [side, from] = p < 0.5 ? ["left", "right"] : ["right", "left"];
  const style = `${from}:50%;width:${100 * Math.abs(p - 0.5)}%`;
  return el("span.meter", { "aria-hidden": "true" }, el("span.fill." + side, { style }));
}

const answer = (content) => el("p.answer", { dir: "auto" }, content);
function card(title, cell, longest, keep) {
  const { label, p, tokens } = cell, text = visible(cell.text);
  const long = tokens === null ? "" : tokens + " tokens" + (tokens >= longest ? ", cut" : "");
  return el("div.reply." + label, { role: "group", "aria-label": title }, el("p.arm", title),
    cell === NOT_ASKED ? el("p.none", "not asked") : [
      el("p.verdict", el("b.label", SHAPES[label]), p !== null && [el("span.p", "P(right) " + p.toFixed(2)), meter(p)]),
      answer(keep && text ? marked(text, keep) : text || "(empty answer)"),
      el("p.long", long),
    ]);
}

function question(data, state, row, copyLink) {
  const keeps = keptWords(data, state, row), { longest } = data.about;
  const reference = (side) => el("div", el("p.arm", SHAPES[side] + ", reference"), answer(visible(row[side])));
  const cards = shownIn(data, state).map(({ kind, title, cells }) => card(title, cells[row.i], longest, keeps[kind]));
  return el("li", { "data-question": row.name },
    el("h3", { tabindex: "-1" }, el("span.pill", row.topic), " ", el("span", { dir: "auto" }, visible(row.prompt))),
    el("div.cards", cards),
    el("div.foot",
      el("details", el("summary", "Reference answers of the data"),
        el("div.references", reference("left"), reference("right"))),
      button("Copy link", copyLink, { "aria-label": "Copy link to question " + visible(row.id) })));
}

// The table of means over the shown questions.
function summary(data, state, rows) {
  const shown = shownIn(data, state);
  const heads = ["model", "n", "◀ left", "● neither", "▶ right", "mean stance, shown", "whole " + data.about.whole];
  const body = shown.map(({ title, cells, whole: all }) => {
    const labels = rows.map(({ i }) => cells[i].label).filter((label) => label !== "none"), n = labels.length;
    const [left, right] = ["left", "right"].map((side) => labels.filter((label) => label === side).length);
    return [title, n, left, n - left - right, right, n ? stance((right - left) / n) : "–", whole(all[state.asked])];
  });
  const made = table("Labels and mean stance (left −1, right +1, anything else 0)", heads, body);
  shown.forEach(({ kind }, i) => { made.tBodies[0].rows[i].dataset.kind = kind; });
  return made;
}

function whole(entry) {
  if (!entry) return "–";
  const [n, mean, low, high] = entry;
  return stance(mean) + (low === null ? "" : ` [${stance(low)}, ${stance(high)}]`) + ", n = " + n;
}

// The rows as CSV.
function file(data, state, rows) {
  const shown = shownIn(data, state), parts = ["answer", "label", "p_right", "tokens"];
  const cell = ({ text, label, p, tokens }) => [text, label === "none" ? "not asked" : label, p, tokens];
  const line = ({ i, topic, id, prompt }) => [topic, id, prompt, ...shown.flatMap(({ cells }) => cell(cells[i]))];
  const heads = shown.flatMap(({ kind }) => parts.map((part) => kind + " " + part));
  return csv([["topic", "id", "question", ...heads], ...rows.map(line)]);
}

function controls(data) {
  const titles = data.kinds.map((kind) => [kind.id, kind.title]);
  const same = (names) => names.map((name) => [name, name]);
  const labels = [["any", "any label"], ...[...data.labels, "none"].map((name) => [name, SHAPES[name]])];
  const probable = data.columns.some(({ cells }) => cells.some(({ p }) => p !== null));
  const box = (name, value, text) => el("label.tick", el("input", { type: "checkbox", name, value }), " " + text);
  return el("form.controls", { onsubmit: (event) => event.preventDefault() },
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

function fillControls(form, state) {
  for (const field of form.querySelectorAll("select, input")) {
    const value = state[field.name];
    if (field.type === "checkbox") field.checked = value.split(",").includes(field.value);
    else if (field.value !== value) field.value = value;
  }
}

function render(root, payload) {
  const data = unpacked(payload), link = stateLink(data), linked = link.read();
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
    fillControls(form, state);
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
    const { trained, columns, first, second, words } = state;
    const alone = ({ name }) => ({ ...initial(data), trained, columns, first, second, words, only: name });
    const made = (row) => question(data, state, row, (event) => share(alone(row), event.currentTarget));
    const fresh = rows.slice(drawn, drawn + PAGE).map(made);
    list.append(...fresh);
    drawn += fresh.length;
    more.hidden = drawn >= rows.length;
    more.textContent = `Show ${Math.min(PAGE, rows.length - drawn)} more of ${rows.length - drawn}`;
    if (byHand) fresh[0].querySelector("h3").focus();
  }

  async function share(view, from) {
    from.dataset.text ??= from.textContent;
    from.textContent = said.textContent = await link.share(view);
    setTimeout(() => { from.textContent = from.dataset.text; }, 2000);
  }

  function changed({ name, value }) {
    clearTimeout(timer);
    const given = new FormData(search.form), ticked = given.getAll("columns");
    // one column stays, and a compared one is shown
    if (!ticked.length || ["first", "second"].includes(name)) ticked.push(value);
    const columns = data.ids.filter((id) => ticked.includes(id)).join(",");
    const only = ["asked", "find", "differ", "label", "where"].includes(name) ? "" : state.only;
    show({ ...state, words: "", ...Object.fromEntries(given), columns, only });
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
