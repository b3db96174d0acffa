// The neuron explorer: a map of all neurons, filters, the card of the neuron chosen, and a list of all cards; this file
// holds the state. render(root, payload, blobs, options) draws into root, also in a live kernel (explorer_widget.js).
// options: {link: false} leaves the address alone, {selected(index, layer, neuron)} hears of every choice.

const LISTED = 24; // neurons named when a cell of the map is opened

// on: {set(changes), jump(text) → error or "", reset(), copy(): nothing where there is no link}
function controls(levels, on) {
  const read = ({ type, checked, value }) => (type === "checkbox" ? checked : isNaN(value) ? value : Number(value));
  const order = select("Sorted by", "order", [["index", "neuron number"], ["rank", "rank"]]);
  const slider = el("input", { type: "range", name: "gamma", min: 0, max: levels.payload.gammas.length - 1, step: 1 });
  const gamma = el("strong"); // not <output>: the label would name that one instead of the slider
  const said = el("span.nx-muted", { role: "status" });
  const fields = el("div.nx-fields", { oninput: ({ target }) => on.set({ [target.name]: read(target) }) },
    select("Topic", "topic", [[-1, "all topics"], ...levels.topics.map((topic, t) => [t, topic])]),
    select("Type", "type", Object.entries(TYPES)),
    select("Layer", "layer", [[-1, "all layers"], ...Array.from(Array(levels.layers), (_, l) => [l, "layer " + l])]),
    order,
    el("label.field.nx-wide", el("span", "γ, share kept per topic: ", gamma), slider),
    el("label.nx-check", el("input", { type: "checkbox", name: "cards" }), "only neurons with cards"));
  const element = el("div.nx-controls", fields, jumper(on.jump), el("p.nx-line",
    button("Reset", on.reset, { name: "reset" }), on.copy && button("Copy link", on.copy, { name: "copy" }), said));
  const show = (state) => {
    for (const each of fields.querySelectorAll("select, input"))
      each[each.type === "checkbox" ? "checked" : "value"] = state[each.name];
    order.hidden = state.layer < 0;
    gamma.textContent = levels.gamma(state.gamma) + (state.gamma === levels.own ? " (this run's)" : "");
    slider.setAttribute("aria-valuetext", levels.gamma(state.gamma).replace("%", "per cent"));
    said.textContent = "";
  };
  return { element, said, show };
}

function jumper(jump) {
  const error = el("p.nx-error", { role: "alert", hidden: true });
  const input = el("input", { type: "text", name: "jump", placeholder: "layer.neuron", inputmode: "decimal",
    autocomplete: "off", size: 12 });
  const onsubmit = (event) => {
    event.preventDefault();
    error.textContent = jump(input.value);
    error.hidden = !error.textContent;
    input.setAttribute("aria-invalid", String(!error.hidden));
  };
  return el("form.nx-jump", { onsubmit, novalidate: true },
    field("Go to neuron", input), el("button", { type: "submit" }, "Open"), error);
}

// Numbers of neurons at one gamma: a sentence for the chosen view, and a row a topic.
function counts(levels, state) {
  const tally = levels.tally(state.gamma), t = state.topic, gamma = levels.gamma(state.gamma);
  const share = (n) => count(n) + " (" + fixed((100 * n) / levels.total, 2) + " %)";
  const specific = t < 0
    ? `specific to some topics ${share(tally.any)}, to one ${share(tally.alone)}`
    : `specific to ${levels.topics[t]} ${share(tally.S[t])}, strictly ${share(tally.strict[t])}`;
  const rows = levels.topics.map((topic, i) => [topic, ...["N", "S", "strict"].map((set) => count(tally[set][i]))]);
  const caption = `Neurons in the top ${gamma} (N), without the general ones (S), and in no other topic's (strict). ` +
    `In all topics: G = ${count(tally.G)}.`;
  const made = table(caption, ["topic", "N", "S", "strict"], rows), wrong = levels.disagreement(state.gamma, tally);
  if (t >= 0) made.tBodies[0].rows[t].setAttribute("data-chosen", "");
  const warning = wrong && el("p.nx-error", { role: "alert" }, `Do not rely on this view: ${wrong}.`);
  return [`γ = ${gamma}: general ${share(tally.G)}, ${specific}.`, el("div", warning, made)];
}

// What greys and ticks mean.
function legend(map, levels, state) {
  const { shares, scores_at: at } = levels.payload, { first, grid } = map, last = levels.highest;
  const name = levels.topics[state.topic], scores = at[name];
  const log = (k) => Math.log10(shares[k]), whole = log(first) - log(last) || 1;
  const marks = [first];
  for (const goal of [50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]) {
    const k = shares.findIndex((share) => share <= goal);
    const room = Math.min(log(marks.at(-1)) - log(k), log(k) - log(last)) / whole > 0.2;
    if (k > first && k < last && room) marks.push(k);
  }
  if (last > first) marks.push(last);
  const step = (k, i) => {
    const style = `left:${(100 * (log(first) - log(k))) / whole}%`;
    const score = scores && finite(scores[k]) ? "\n" + short(scores[k]) : "";
    return el("span", { style }, `${!i && k ? "≥ " : ""}${Number(shares[k].toPrecision(2))} %${score}`);
  };
  const shown = (grid.per > 1 ? `highest of ${grid.per} neurons` : "level") + (name ? " for " + name : " in any topic");
  const entry = (kind, text) => el("span", keyOf(kind), text);
  const specific = (state.type === "strict" ? "strictly specific" : "specific (S)") + (name ? " to " + name : "");
  return el("div.nx-legend",
    el("div.nx-scale", el("span", `Grey: ${shown}, as the top share${scores ? " and its score" : ""}`),
      el("div.nx-ramp"), el("div.nx-steps", marks.map(step))),
    el("div.nx-keys", entry("G", "general (G): filled"), entry("S", specific + ": hollow"),
      grid.per > 1 && el("span", "taller: more neurons"), entry("here", "opened")));
}

// The list of all cards, sorted and searched: the way to the cards without the map. By id of a column: title, value of
// a card to sort by, what is shown, whether it starts with the largest.
function columns(levels, { topic, gamma }) {
  const { cards } = levels.payload, name = levels.topics[topic];
  const index = (card) => levels.index(card.layer, card.neuron);
  const top = (card) => (name ? topic : card.scores.indexOf(Math.max(...card.scores)));
  const own = (values) => (card) => card[values][top(card)];
  const [score, rank, norm] = ["scores", "ranks", "rank_normalised"].map(own);
  const kind = (card) => levels.kind(index(card), gamma);
  const inside = (card) => levels.topicsOf(index(card), gamma).join(", ");
  const set = (card) => badge(kind(card), kind(card) === "S" ? "S " + inside(card) : kind(card) || "–");
  const effect = ({ ablation: { all, topics } }) => (name ? topics.find((each) => each.topic === name) : all);
  const number = column(cards.map(effect).flatMap((e) => (e ? [e.effect, e.low, e.high] : [])));
  const interval = (e) => (e ? `${number(e.effect)} [${number(e.low)}, ${number(e.high)}]` : "–");
  const words = (card) => card.promoted.map(([token]) => String(token).trim().toLowerCase()).join(" ");
  const strongest = (card) => short(score(card)) + (name ? "" : ` (${levels.topics[top(card)]})`);
  return {
    neuron: ["neuron", index],
    set: ["set", (card) => kind(card) || "~", set],
    score: [name ? "score, " + name : "highest score", score, strongest, true],
    rank: ["rank", rank, (card) => count(rank(card))],
    norm: ["rank, norm.", norm, (card) => count(norm(card))],
    effect: ["ablation effect", (card) => effect(card)?.effect, (card) => interval(effect(card)), true],
    tokens: ["promotes", words, (card) => card.promoted.slice(0, 3).map(([token]) => tokenChip(token))],
  };
}

// The cards that filters and search leave, in order.
function listed(levels, view, columns) {
  const find = view.find.toLowerCase().trim(), mark = levels.marker(view), index = columns.neuron[1];
  const text = (card) => [levels.name(index(card)), card.topic, ...levels.topicsOf(index(card), view.gamma),
    columns.tokens[1](card), levels.kind(index(card), view.gamma)].join(" ").toLowerCase();
  const kept = levels.payload.cards.filter((card) =>
    (view.type === "all" || mark(index(card))) && (view.layer < 0 || card.layer === view.layer) &&
    (!find || text(card).includes(find)));
  if (!view.sort) return kept;
  const by = columns[view.sort.replace("-", "")][1], sign = view.sort[0] === "-" ? -1 : 1;
  const order = (a, b) => (a === undefined) - (b === undefined) || sign * ((a > b) - (a < b));
  return kept.sort((a, b) => order(by(a), by(b)));
}

// on: {open(index), note(changes)}: the state of sorting and search is the explorer's
function cardList(levels, on) {
  const search = el("input", { type: "search", placeholder: "neuron, topic or token", maxlength: 200,
    oninput: () => on.note({ find: search.value }), "aria-label": "Search the cards" });
  const told = el("span.nx-muted", { role: "status" }), list = el("table.nx-list");
  const element = el("section.nx-part.nx-cards", el("h3", "All cards"), el("p.nx-line", search, told),
    el("div.nx-scroll", { tabindex: "0", role: "group", "aria-label": "Table of cards" }, list));

  function show(view) {
    const made = columns(levels, view), kept = listed(levels, view, made), all = levels.payload.cards.length;
    search.value = view.find;
    told.textContent = `${count(kept.length)} of ${many(all, "card")} under the filters above`;
    const head = (id) => {
      const [title, , , falling] = made[id], state = { [id]: "ascending", ["-" + id]: "descending" }[view.sort];
      const press = () => {
        on.note({ sort: state === "ascending" || (!state && falling) ? "-" + id : id });
        list.querySelector(`[data-column=${id}]`).focus();
      };
      const arrow = el("span", { "aria-hidden": "true" }, { ascending: " ▴", descending: " ▾" }[state]);
      return el("th.nx-col-" + id, { scope: "col", "aria-sort": state },
        button([title, arrow], press, { "data-column": id }));
    };
    const line = (card) => {
      const index = made.neuron[1](card), name = levels.name(index);
      const open = button(name, () => on.open(index), { class: "nx-open", "aria-label": "Open neuron " + name });
      return el("tr", { "data-index": index }, el("th", { scope: "row" }, open),
        COLUMNS.slice(1).map((id) => el("td.nx-col-" + id, made[id][2](card))));
    };
    list.replaceChildren(el("thead", el("tr", COLUMNS.map(head))), el("tbody", kept.map(line)));
    choose(list, view.neuron);
  }
  return { element, show };
}

// Marks what stands for a neuron in a list.
function choose(list, index) {
  for (const each of list.querySelectorAll("[data-index]"))
    each.toggleAttribute("data-chosen", Number(each.dataset.index) === index);
}

function render(root, payload, blobs, { link = true, selected = () => {} } = {}) {
  const levels = new Levels(payload, blobs.levels), kept = stateLink(levels), linked = link ? kept.read() : null;
  let state = linked || initial(levels), timer = 0, from = null; // from: where the focus goes back to
  const copyLink = async () => { top.said.textContent = await kept.share(state); };
  const top = controls(levels, { set, jump, reset: () => restore(initial(levels), true), copy: link && copyLink });
  const map = new NeuronMap(levels, { open: openCell, layer: (layer) => set({ layer }) });
  const list = cardList(levels, { open: (index) => open(index, true), note: (changes) => set(changes, [drawList]) });
  const drawList = () => list.show(state);
  const told = el("p.nx-told", { role: "status" }), sizes = el("div"), key = el("div");
  const title = el("p.nx-title"), back = button("← all layers", () => set({ layer: -1 }), { class: "nx-quiet" });
  const cell = el("div.nx-cell", { hidden: true }), cards = el("div.nx-open-cards");
  const whole = el("div.px.nx", { "data-lm-suppress-shortcuts": "true" },
    payload.run.note && el("p.nx-note", payload.run.note),
    el("div.nx-top", top.element, el("div.nx-counts", told, sizes)),
    el("p.nx-line", title, back), map.element, key, cell, cards, list.element);

  function restore(view, byHand) {
    state = view;
    draw();
    drawChoice(byHand);
  }

  // changes of the state, and what shows them
  function set(changes, drawn = [draw, drawCards]) {
    Object.assign(state, changes);
    for (const each of drawn) each();
    clearTimeout(timer); // browsers refuse many changes of the address in a row
    if (link) timer = setTimeout(() => kept.keep(state), 150);
  }

  function draw() {
    cell.hidden = true;
    top.show(state);
    const [sentence, made] = counts(levels, state);
    told.textContent = sentence;
    sizes.replaceChildren(made);
    map.draw(state);
    title.textContent = headline();
    back.hidden = state.layer < 0;
    key.replaceChildren(legend(map, levels, state));
    drawList();
  }

  function headline() {
    const { layer, order } = state, size = count(levels.width) + " neurons";
    const right = "Layer 0, nearest the input, is at the top; at the right, neurons marked per layer.";
    if (layer < 0) return `${levels.layers} layers × ${size}. ${right}`;
    const by = order === "rank" ? "strongest level first, equal levels by number" : "by number";
    const [general, specific] = [map.cells.general, map.cells.specific].map((marked) => count(sum(marked)));
    return `Layer ${layer}: ${size}, ${by}, left to right and down; ${general} marked as G, ${specific} as S.`;
  }

  // neurons of a cell: the best is opened, the others are named
  function openCell(neurons, byKey) {
    const shown = levels.of(state.topic), mark = levels.marker(state);
    const order = (index) => (mark(index) ? 2 : 0) + levels.cards.has(index);
    const sorted = neurons.slice().sort((a, b) => order(b) - order(a) || shown[b] - shown[a] || a - b);
    open(sorted[0], byKey);
    if (neurons.length < 2) return;
    const [first, last] = [neurons[0], neurons.at(-1)].map((index) => levels.neuronOf(index));
    const rest = neurons.length - LISTED;
    const entry = (index) => {
      const name = levels.name(index), carded = levels.cards.has(index), kind = ["none", "G", "S"][mark(index)];
      const said = { none: "not marked", G: "general", S: "specific" }[kind] + (carded ? ", has a card" : "");
      const named = { "data-index": index, "aria-label": `Open neuron ${name}, ${said}`, class: carded && "nx-has" };
      return el("li", button([keyOf(kind), name], () => open(index, false), named));
    };
    cell.replaceChildren(
      el("span.nx-muted", `In this cell (layer ${levels.layerOf(sorted[0])}, neurons ${first}–${last}), marked and ` +
        "strongest first, bold: with a card"),
      el("ul", sorted.slice(0, LISTED).map(entry)),
      rest > 0 ? el("span.nx-muted", `and ${count(rest)} more; choose the layer to see each`) : "");
    cell.hidden = false;
    choose(cell, state.neuron);
  }

  function open(index, focus) {
    if (focus && document.activeElement !== document.body) from = document.activeElement;
    state.neuron = index;
    if (!cell.querySelector(`[data-index="${index}"]`)) cell.hidden = true;
    if (state.layer >= 0 && levels.layerOf(index) !== state.layer) {
      state.layer = levels.layerOf(index);
      draw();
    }
    drawChoice(true);
    if (focus) cards.querySelector(".nx-card:last-child h3").focus();
  }

  function drawChoice(byHand) {
    const { neuron } = state;
    if (neuron === null) cell.hidden = true;
    for (const each of [cell, list.element]) choose(each, neuron);
    map.overlay();
    drawCards();
    if (!byHand) return;
    set({}, []);
    selected(neuron, ...(neuron === null ? [-1, -1] : [levels.layerOf(neuron), levels.neuronOf(neuron)]));
  }

  // the card kept beside stands first
  function drawCards() {
    const { neuron, beside } = state, shown = [...new Set([beside, neuron])].filter((index) => index !== null);
    const variant = (model) => set({ variant: model }, []), keep = (index) => set({ beside: index }, [drawCards]);
    cards.classList.toggle("nx-pair", shown.length > 1);
    const on = { variant, keep, close: leave }, made = shown.map((index) => cardOf(levels, index, shown, state, on));
    cards.replaceChildren(...made);
    if (shown.length === 1 && beside !== null)
      cards.querySelector("[name=keep]").replaceWith(el("span.nx-muted", "kept: choose another to stand beside it"));
    if (!shown.length)
      cards.append(muted("Choose a neuron on the map, in the list below, or by its number to see its card."));
  }

  function leave(index) {
    if (index === state.beside) state.beside = null;
    if (index === state.neuron) state.neuron = state.beside;
    if (state.neuron === state.beside) state.beside = null;
    drawChoice(true);
    if (from?.isConnected) from.focus();
  }

  function jump(text) {
    const found = levels.parse(text);
    if (typeof found === "string") return found;
    open(found, true);
    return "";
  }

  function moved() {
    const view = kept.read();
    if (view) restore(view, false);
  }

  root.replaceChildren(whole);
  restore(state, false);
  const theme = new MutationObserver(() => map.draw());
  for (const node of [document.documentElement, document.body])
    theme.observe(node, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "data-mode"] });
  if (link) addEventListener("hashchange", moved);
  if (linked) whole.scrollIntoView();
  return {
    open(layer, neuron) {
      const index = levels.parse(layer + "." + neuron);
      if (typeof index === "number" && index !== state.neuron) open(index, false);
    },
    close() {
      theme.disconnect();
      map.close();
      removeEventListener("hashchange", moved);
    },
  };
}
