// The neuron explorer: a map of all neurons, filters, the card of the neuron chosen, and a list of all cards; this file
// holds the state. render(root, payload, blobs, options) draws into root, also in a live kernel (explorer_widget.js).
// options: {link: false} leaves the page's address alone, {selected(index, layer, neuron)} is told of every choice.
// Returns {open(layer, neuron), close()}.

const LISTED = 24; // neurons named when a cell of the map is opened

// --- controls

// on: {set(changes), jump(text) → error or "", reset(), copy(): nothing where there is no link}
function controls(levels, on) {
  const menu = (title, name, choices, read) =>
    select(title, name, choices, { onchange: ({ target }) => on.set({ [name]: read(target.value) }) });
  const layers = Array.from({ length: levels.layers }, (_, layer) => [layer, "layer " + layer]);
  const order = menu("Sorted by", "order", [["index", "neuron number"], ["rank", "rank"]], String);
  const slider = el("input", { type: "range", name: "gamma", min: 0, max: levels.payload.gammas.length - 1, step: 1,
    oninput: () => on.set({ gamma: Number(slider.value) }) });
  const gamma = el("strong"); // not <output>: the label would name that one instead of the slider
  const cards = el("input", { type: "checkbox", name: "cards", onchange: () => on.set({ cards: cards.checked }) });
  const said = el("span.nx-muted", { role: "status" });
  const fields = el("div.nx-fields",
    menu("Topic", "topic", [[-1, "all topics"], ...levels.topics.map((topic, t) => [t, topic])], Number),
    menu("Type", "type", Object.entries(TYPES), String),
    menu("Layer", "layer", [[-1, "all layers"], ...layers], Number),
    order,
    el("label.field.nx-wide", el("span", "γ, share kept per topic: ", gamma), slider),
    el("label.nx-check", cards, "only neurons with cards"));
  const element = el("div.nx-controls", fields, jumper(on.jump),
    el("p.nx-line", button("Reset", on.reset, { name: "reset" }), on.copy && button("Copy link", on.copy, { name: "copy" }), said));
  const show = (state) => {
    for (const each of fields.querySelectorAll("select")) each.value = String(state[each.name]);
    order.hidden = state.layer < 0;
    slider.value = String(state.gamma);
    cards.checked = state.cards;
    const text = levels.gamma(state.gamma);
    gamma.textContent = text + (state.gamma === levels.own ? " (this run's)" : "");
    slider.setAttribute("aria-valuetext", text.replace("%", "per cent"));
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
  const made = table(caption, ["topic", "N", "S", "strict"], rows), wrong = levels.disagreement(state.gamma);
  if (t >= 0) made.tBodies[0].rows[t].setAttribute("data-chosen", "");
  const warning = el("p.nx-error", { role: "alert" }, `Do not rely on this view: ${wrong}.`);
  return [`γ = ${gamma}: general ${share(tally.G)}, ${specific}.`, wrong ? [warning, made] : [made]];
}

// What greys and ticks mean; drawn anew when their scale changes.
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
    const style = i ? `left:${(100 * (log(first) - log(k))) / whole}%` : "left:0;transform:none";
    const score = scores && finite(scores[k]) ? "\n" + short(scores[k]) : "";
    return el("span", { style }, `${!i && k ? "≥ " : ""}${Number(shares[k].toPrecision(2))} %${score}`);
  };
  const entry = (kind, text) => el("span", keyOf(kind), text);
  const specific = (state.type === "strict" ? "strictly specific" : "specific (S)") + (name ? " to " + name : "");
  return el("div.nx-legend",
    el("div.nx-scale",
      el("span", `Grey: ${grid.per > 1 ? `highest of ${grid.per} neurons` : "level"} ${name ? "for " + name : "in any topic"}, ` +
        "as the top share" + (scores ? " and its score" : "")),
      el("div.nx-ramp"), el("div.nx-steps", marks.map(step))),
    el("div.nx-keys", entry("G", "general (G): filled"), entry("S", specific + ": hollow"),
      grid.per > 1 && el("span", "taller: more neurons"), entry("here", "opened")));
}

// --- the list of all cards, sorted and searched: the way to the cards without the map

// What the list says of a card under a view.
function cardRow(levels, view, card) {
  const { ablation, scores, promoted } = card, index = levels.index(card.layer, card.neuron);
  return {
    card,
    index,
    top: scores.indexOf(Math.max(...scores)),
    words: promoted.map(([token]) => String(token).trim().toLowerCase()).join(" "),
    inside: levels.topicsOf(index, view.gamma),
    kind: levels.kind(index, view.gamma),
    effect: view.topic < 0 ? ablation.all : ablation.topics.find(({ topic }) => topic === levels.topics[view.topic]),
  };
}

// By id of a column: title, value to sort by, what is shown, whether it starts with the largest.
function columns(levels, view, rows) {
  const number = column(rows.flatMap(({ effect }) => (effect ? [effect.effect, effect.low, effect.high] : [])));
  const own = (name) => (row) => row.card[name][view.topic < 0 ? row.top : view.topic];
  const [score, rank, norm] = ["scores", "ranks", "rank_normalised"].map(own);
  const set = (row) => badge(row.kind, row.kind === "S" ? "S " + row.inside.join(", ") : row.kind || "–");
  const strongest = (row) => short(score(row)) + (view.topic < 0 ? ` (${levels.topics[row.top]})` : "");
  const effect = ({ effect: e }) => (e ? `${number(e.effect)} [${number(e.low)}, ${number(e.high)}]` : "–");
  return {
    neuron: ["neuron", (row) => row.index],
    set: ["set", (row) => row.kind || "~", set],
    score: [view.topic < 0 ? "highest score" : "score, " + levels.topics[view.topic], score, strongest, true],
    rank: ["rank", rank, (row) => count(rank(row))],
    norm: ["rank, norm.", norm, (row) => count(norm(row))],
    effect: ["ablation effect", (row) => row.effect?.effect, effect, true],
    tokens: ["promotes", (row) => row.words, (row) => row.card.promoted.slice(0, 3).map(([token]) => tokenChip(token))],
  };
}

// The rows that filters and search leave, in order.
function listed(levels, view, rows, columns) {
  const words = view.find.toLowerCase().trim(), mark = levels.marker(view);
  const text = (row) => [levels.name(row.index), row.card.topic, ...row.inside, row.words, row.kind].join(" ").toLowerCase();
  const kept = rows.filter((row) =>
    (view.type === "all" || mark(row.index)) && (view.layer < 0 || row.card.layer === view.layer) &&
    (!words || text(row).includes(words)));
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
    const all = levels.payload.cards.map((card) => cardRow(levels, view, card));
    const made = columns(levels, view, all), kept = listed(levels, view, all, made);
    if (search.value !== view.find) search.value = view.find;
    told.textContent = `${count(kept.length)} of ${many(all.length, "card")} under the filters above`;
    const head = (id) => {
      const [title, , , falling] = made[id], state = { [id]: "ascending", ["-" + id]: "descending" }[view.sort];
      const press = () => {
        on.note({ sort: state === "ascending" || (!state && falling) ? "-" + id : id });
        list.querySelector(`[data-column=${id}]`).focus();
      };
      const arrow = el("span", { "aria-hidden": "true" }, { ascending: " ▴", descending: " ▾" }[state]);
      return el("th.nx-col-" + id, { scope: "col", "aria-sort": state }, button([title, arrow], press, { "data-column": id }));
    };
    const line = (row) => {
      const name = levels.name(row.index), named = { class: "nx-open", "aria-label": "Open neuron " + name };
      return el("tr", { "data-index": row.index },
        el("th", { scope: "row" }, button(name, () => on.open(row.index), named)),
        COLUMNS.slice(1).map((id) => el("td.nx-col-" + id, made[id][2](row))));
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

// --- all of it

function render(root, payload, blobs, { link = true, selected = () => {} } = {}) {
  const levels = new Levels(payload, blobs.levels), kept = stateLink(levels), linked = link ? kept.read() : null;
  let state = linked || initial(levels), timer = 0, from = null; // from: where the focus goes back to

  const top = controls(levels, { set, jump, reset: () => restore(initial(levels), true), copy: link && copyLink });
  const map = new NeuronMap(levels, { open: openCell, layer: (layer) => set({ layer }) });
  const list = cardList(levels, { note, open: (index) => open(index, true) });
  const told = el("p.nx-told", { role: "status" }), sizes = el("div"), key = el("div");
  const title = el("p.nx-title"), back = button("← all layers", () => set({ layer: -1 }), { class: "nx-quiet" });
  const cell = el("div.nx-cell", { hidden: true }), cards = el("div.nx-open-cards");
  const whole = el("div.px.nx", { "data-lm-suppress-shortcuts": "true" },
    payload.run.note && el("p.nx-note", payload.run.note),
    el("div.nx-top", top.element, el("div.nx-counts", told, sizes)),
    el("p.nx-line", title, back), map.element, key, cell, cards, list.element);

  // --- state

  function restore(view, byHand) {
    state = view;
    map.cursor = -1;
    draw();
    drawChoice(byHand);
  }

  // a choice that only the list or the card shows
  function note(changes) {
    Object.assign(state, changes);
    list.show(state);
    remember();
  }

  function set(changes) {
    Object.assign(state, changes);
    if ("layer" in changes) map.cursor = -1;
    cell.hidden = true;
    draw();
    drawCards();
    remember();
  }

  function draw() {
    top.show(state);
    const [sentence, made] = counts(levels, state);
    told.textContent = sentence;
    sizes.replaceChildren(...made);
    map.show(state);
    title.textContent = headline();
    back.hidden = state.layer < 0;
    key.replaceChildren(legend(map, levels, state));
    list.show(state);
  }

  function headline() {
    const { layer, order } = state, size = count(levels.width) + " neurons";
    if (layer < 0) return `${levels.layers} layers × ${size}. Layer 0, nearest the input, is at the top; at the right, ` +
      "neurons marked per layer.";
    const by = order === "rank" ? "strongest level first, equal levels by number" : "by number";
    const [general, specific] = [map.cells.general, map.cells.specific].map((marked) => count(sum(marked)));
    return `Layer ${layer}: ${size}, ${by}, left to right and down; ${general} marked as G, ${specific} as S.`;
  }

  // --- choosing a neuron

  // neurons of a cell: the best is opened, the others are named
  function openCell(neurons, byKey) {
    const shown = levels.of(state.topic), mark = levels.marker(state);
    const order = (index) => (mark(index) ? 2 : 0) + levels.cards.has(index);
    const sorted = neurons.slice().sort((a, b) => order(b) - order(a) || shown[b] - shown[a] || a - b);
    open(sorted[0], byKey);
    if (neurons.length > 1) nameOthers(sorted, mark);
  }

  function nameOthers(sorted, mark) {
    const rest = sorted.length - LISTED;
    const [first, last] = [Math.min(...sorted), Math.max(...sorted)].map((index) => levels.neuronOf(index));
    const entry = (index) => {
      const name = levels.name(index), carded = levels.cards.has(index), kind = ["none", "G", "S"][mark(index)];
      const said = { none: "not marked", G: "general", S: "specific" }[kind] + (carded ? ", has a card" : "");
      const named = { "data-index": index, "aria-label": `Open neuron ${name}, ${said}` };
      return el("li", button([keyOf(kind), name], () => open(index, false), { class: carded && "nx-has", ...named }));
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

  // after the selection changed
  function drawChoice(byHand) {
    const { neuron } = state;
    if (neuron === null) cell.hidden = true;
    for (const each of [cell, list.element]) choose(each, neuron);
    map.select(neuron);
    drawCards();
    if (!byHand) return;
    remember();
    selected(neuron, ...(neuron === null ? [-1, -1] : [levels.layerOf(neuron), levels.neuronOf(neuron)]));
  }

  // the card kept beside stands first
  function drawCards() {
    const { neuron, beside } = state, shown = [...new Set([beside, neuron])].filter((index) => index !== null);
    const on = {
      variant(variant) {
        state.variant = variant;
        remember();
      },
      keep(index) {
        state.beside = index;
        drawCards();
        remember();
      },
      close: leave,
    };
    cards.classList.toggle("nx-pair", shown.length > 1);
    cards.replaceChildren(...shown.map((index) => cardOf(levels, index, shown, state, on)));
    if (shown.length === 1 && beside !== null)
      cards.querySelector("[name=keep]").replaceWith(el("span.nx-muted", "kept: choose another to stand beside it"));
    const hint = "Choose a neuron on the map, in the list below, or by its number to see its card.";
    if (!shown.length) cards.append(muted(hint));
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

  // --- link

  function remember() {
    if (!link) return;
    clearTimeout(timer); // browsers refuse many changes of the address in a row
    timer = setTimeout(() => kept.keep(state), 150);
  }

  async function copyLink() {
    top.said.textContent = await kept.share(state);
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
