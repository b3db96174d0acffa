// The neuron explorer: a map of all neurons, filters, the card of the neuron chosen, and a list of all cards; this file
// holds the state. render(root, payload, blobs, options) draws into root; display/widgets.py wraps the same function for
// a live kernel. options: {link: false} leaves the page's address alone, {selected(index, layer, neuron)} is told of
// every choice. Returns {open(layer, neuron), close()}.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, button, select, field, table, finite, short, fixed, count, many, column } = polinb.dom;
  const LISTED = 24; // neurons named when a cell of the map is opened
  X.COLUMNS = ["neuron", "set", "score", "rank", "norm", "effect", "tokens"];

  // --- controls

  class Controls {
    // on: {set(changes), jump(text) → error or "", reset(), copy()}; link: whether one can be copied
    constructor(levels, on, link) {
      this.levels = levels;
      const layers = Array.from({ length: levels.layers }, (_, l) => [l, "layer " + l]);
      const menu = (title, name, choices, read) =>
        select(title, name, choices, { onchange: ({ target }) => on.set({ [name]: read(target.value) }) });
      this.order = menu("Sorted by", "order", [["index", "neuron number"], ["rank", "rank"]], String);
      this.gamma = el("input", { type: "range", name: "gamma", min: 0, max: levels.payload.gammas.length - 1, step: 1,
        oninput: () => on.set({ gamma: Number(this.gamma.value) }) });
      this.gammaText = el("strong", {}); // not <output>: the label would name that one instead of the slider
      this.cards = el("input", { type: "checkbox", name: "cards", onchange: () => on.set({ cards: this.cards.checked }) });
      this.told = el("span", { class: "nx-muted", role: "status" });
      this.fields = el("div", { class: "nx-fields" },
        menu("Topic", "topic", [[-1, "all topics"], ...levels.topics.map((topic, t) => [t, topic])], Number),
        menu("Type", "type", Object.entries(X.TYPES), String),
        menu("Layer", "layer", [[-1, "all layers"], ...layers], Number),
        this.order,
        el("label", { class: "field nx-wide" }, el("span", {}, "γ, share kept per topic: ", this.gammaText), this.gamma),
        el("label", { class: "nx-check" }, this.cards, "only neurons with cards"));
      this.element = el("div", { class: "nx-controls" }, this.fields, jumper(on),
        el("p", { class: "nx-line" }, button("Reset", on.reset, { name: "reset" }),
          link && button("Copy link", on.copy, { name: "copy" }), this.told));
    }

    show(state) {
      for (const menu of this.fields.querySelectorAll("select")) menu.value = String(state[menu.name]);
      this.order.hidden = state.layer < 0;
      this.gamma.value = String(state.gamma);
      this.cards.checked = state.cards;
      const text = this.levels.gamma(state.gamma);
      this.gammaText.textContent = text + (state.gamma === this.levels.own ? " (this run's)" : "");
      this.gamma.setAttribute("aria-valuetext", text.replace("%", "per cent"));
      this.told.textContent = "";
    }
  }

  function jumper(on) {
    const error = el("p", { class: "nx-error", role: "alert", hidden: true });
    const input = el("input", { type: "text", name: "jump", placeholder: "layer.neuron", inputmode: "decimal",
      autocomplete: "off", size: 12 });
    const go = (event) => {
      event.preventDefault();
      error.textContent = on.jump(input.value);
      error.hidden = !error.textContent;
      input.setAttribute("aria-invalid", String(!error.hidden));
    };
    return el("form", { class: "nx-jump", onsubmit: go, novalidate: true },
      field("Go to neuron", input), el("button", { type: "submit" }, "Open"), error);
  }

  // Numbers of neurons at one gamma: a sentence for the chosen view, and a row a topic.
  function counts(levels, state) {
    const tally = levels.tally(state.gamma), t = state.topic, gamma = levels.gamma(state.gamma);
    const share = (n) => count(n) + " (" + fixed((100 * n) / levels.total, 2) + " %)";
    const specific = t < 0
      ? "specific to some topics " + share(tally.any) + ", to one " + share(tally.alone)
      : "specific to " + levels.topics[t] + " " + share(tally.S[t]) + ", strictly " + share(tally.strict[t]);
    const wrong = levels.disagreement(state.gamma);
    const rows = levels.topics.map((topic, i) => [topic, ...["N", "S", "strict"].map((set) => count(tally[set][i]))]);
    const caption = `Neurons in the top ${gamma} (N), without the general ones (S), and in no other topic's (strict). ` +
      `In all topics: G = ${count(tally.G)}.`;
    const node = table(caption, ["topic", "N", "S", "strict"], rows);
    if (t >= 0) node.tBodies[0].rows[t].setAttribute("data-chosen", "");
    const warning = el("p", { class: "nx-error", role: "alert" }, "Do not rely on this view: " + wrong + ".");
    return [`γ = ${gamma}: general ${share(tally.G)}, ${specific}.`, wrong ? [warning, node] : [node]];
  }

  // What greys and ticks mean; drawn anew when their scale changes.
  function legend(map, levels, state) {
    const { shares, scores_at: at } = levels.payload, { first } = map, last = levels.highest, name = levels.topics[state.topic];
    const scores = name && at[name];
    const log = (k) => Math.log10(shares[k]), whole = log(first) - log(last) || 1;
    const marks = [first];
    for (const goal of [50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]) {
      const k = shares.findIndex((s) => s <= goal);
      const room = [log(marks[marks.length - 1]) - log(k), log(k) - log(last)].every((gap) => gap / whole > 0.2);
      if (k > first && k < last && room) marks.push(k);
    }
    if (last > first) marks.push(last);
    const label = (k) => Number(shares[k].toPrecision(2)) + " %" + (scores && finite(scores[k]) ? "\n" + short(scores[k]) : "");
    const step = (k, i) => i
      ? el("span", { style: "left:" + (100 * (log(first) - log(k))) / whole + "%" }, label(k))
      : el("span", { style: "left:0;transform:none" }, (k ? "≥ " : "") + label(k));
    const many = map.grid.per > 1, shown = many ? `highest of ${map.grid.per} neurons` : "level";
    const entry = (kind, text) => el("span", {}, el("span", { class: "nx-key nx-key-" + kind }), text);
    const specific = (state.type === "strict" ? "strictly specific" : "specific (S)") + (name ? " to " + name : "");
    return el("div", { class: "nx-legend" },
      el("div", { class: "nx-scale" },
        el("span", {}, `Grey: ${shown} ${name ? "for " + name : "in any topic"}, as the top share` + (scores ? " and its score" : "")),
        el("div", { class: "nx-ramp" }), el("div", { class: "nx-steps" }, marks.map(step))),
      el("div", { class: "nx-keys" }, entry("G", "general (G): filled"), entry("S", specific + ": hollow"),
        many && el("span", {}, "taller: more neurons"), entry("here", "opened")));
  }

  // --- the list of all cards, sorted and searched: the way to the cards without the map

  // By id of a column: title, value to sort by, what is shown, whether it starts with the largest.
  function columns(levels, view, rows) {
    const topic = (row) => (view.topic < 0 ? row.top : view.topic);
    const number = column(rows.flatMap(({ effect }) => (effect ? [effect.effect, effect.low, effect.high] : [])));
    const rank = (name) => (row) => row.card[name][topic(row)];
    const score = (row) => row.card.scores[topic(row)];
    const set = (row) => X.badge(row.kind, row.kind === "S" ? "S " + row.inside.join(", ") : row.kind || "–");
    const strongest = (row) => short(score(row)) + (view.topic < 0 ? ` (${levels.topics[row.top]})` : "");
    const effect = ({ effect: e }) => (e ? `${number(e.effect)} [${number(e.low)}, ${number(e.high)}]` : "–");
    return {
      neuron: ["neuron", (row) => row.index],
      set: ["set", (row) => row.kind || "~", set],
      score: [view.topic < 0 ? "highest score" : "score, " + levels.topics[view.topic], score, strongest, true],
      rank: ["rank", rank("ranks"), (row) => count(rank("ranks")(row))],
      norm: ["rank, norm.", rank("rank_normalised"), (row) => count(rank("rank_normalised")(row))],
      effect: ["ablation effect", (row) => row.effect && row.effect.effect, effect, true],
      tokens: ["promotes", (row) => row.words, (row) =>
        row.card.promoted.slice(0, 3).map(([token]) => X.tokenChip(token))],
    };
  }

  class CardList {
    // on: {open(index), set(changes)}: the state of sorting and search is the explorer's
    constructor(levels, on) {
      Object.assign(this, { levels, on });
      this.search = el("input", { type: "search", placeholder: "neuron, topic or token", maxlength: 200,
        oninput: () => on.note({ find: this.search.value }), "aria-label": "Search the cards" });
      this.told = el("span", { class: "nx-muted", role: "status" });
      this.table = el("table", { class: "nx-list" });
      this.element = el("section", { class: "nx-part nx-cards" }, el("h3", {}, "All cards"),
        el("p", { class: "nx-line" }, this.search, this.told),
        el("div", { class: "nx-scroll", tabindex: "0", role: "group", "aria-label": "Table of cards" }, this.table));
    }

    show(view) {
      this.view = view;
      this.all = this.levels.payload.cards.map((card) => this.row(card));
      this.columns = columns(this.levels, view, this.all);
      if (this.search.value !== view.find) this.search.value = view.find;
      this.rows();
    }

    row(card) {
      const { levels, view } = this, index = levels.index(card.layer, card.neuron), { ablation } = card;
      const own = ablation.topics.find(({ topic }) => topic === levels.topics[view.topic]);
      return {
        card,
        index,
        top: card.scores.indexOf(Math.max(...card.scores)),
        words: card.promoted.map(([token]) => String(token).trim().toLowerCase()).join(" "),
        inside: levels.topicsOf(index, view.gamma),
        kind: levels.kind(index, view.gamma),
        effect: view.topic < 0 ? ablation.all : own,
      };
    }

    // the cards that the filters and the search leave, in order
    kept() {
      const { view, levels } = this, marks = levels.marks(view.topic, view.type), mask = levels.mask(view.gamma);
      const words = view.find.toLowerCase().trim(), name = view.sort.replace("-", ""), sign = view.sort[0] === "-" ? -1 : 1;
      const text = (row) => [levels.name(row.index), row.card.topic, ...row.inside, row.words, row.kind].join(" ").toLowerCase();
      const kept = this.all.filter((row) =>
        (view.type === "all" || marks[mask[row.index]]) && (view.layer < 0 || row.card.layer === view.layer) &&
        (!words || text(row).includes(words)));
      if (!name) return kept;
      const by = this.columns[name][1];
      const order = (a, b) => (a === undefined) - (b === undefined) || sign * ((a > b) - (a < b));
      return kept.sort((a, b) => order(by(a), by(b)));
    }

    rows() {
      const kept = this.kept();
      this.told.textContent = count(kept.length) + " of " + many(this.all.length, "card") + " under the filters above";
      this.table.replaceChildren(el("thead", {}, el("tr", {}, X.COLUMNS.map((id) => this.head(id)))),
        el("tbody", {}, kept.map((row) => this.line(row))));
      this.mark();
    }

    head(id) {
      const [title, , , falling] = this.columns[id];
      const state = { [id]: "ascending", ["-" + id]: "descending" }[this.view.sort];
      const next = state ? (state === "ascending" ? "-" + id : id) : falling ? "-" + id : id;
      const press = () => {
        this.on.note({ sort: next });
        this.table.querySelector(`[data-column=${id}]`).focus();
      };
      const arrow = el("span", { "aria-hidden": "true" }, { ascending: " ▴", descending: " ▾" }[state]);
      return el("th", { scope: "col", "aria-sort": state, class: "nx-col-" + id },
        button([title, arrow], press, { "data-column": id }));
    }

    line(row) {
      const name = this.levels.name(row.index);
      const open = button(name, () => this.on.open(row.index), { class: "nx-open", "aria-label": "Open neuron " + name });
      const cells = X.COLUMNS.slice(1).map((id) => el("td", { class: "nx-col-" + id }, this.columns[id][2](row)));
      return el("tr", { "data-index": row.index }, el("th", { scope: "row" }, open), cells);
    }

    mark() {
      for (const line of this.table.querySelectorAll("tbody tr"))
        line.toggleAttribute("data-chosen", Number(line.dataset.index) === this.view.neuron);
    }
  }

  // --- all of it

  class Explorer {
    constructor(root, payload, blobs, options) {
      this.options = { link: true, ...options };
      const levels = (this.levels = new X.Levels(payload, blobs.levels));
      this.address = X.stateLink(levels);
      const linked = this.options.link ? this.address.read() : null;
      this.state = linked || X.initial(levels);
      const on = {
        set: (changes) => this.set(changes),
        note: (changes) => this.note(changes),
        jump: (text) => this.jump(text),
        reset: () => this.restore(X.initial(levels), true),
        copy: () => this.copy(),
        open: (index) => this.open(index, true),
      };
      this.controls = new Controls(levels, on, this.options.link);
      this.map = new X.NeuronMap(levels, {
        open: (neurons, byKey) => this.choose(neurons, byKey),
        layer: (layer) => this.set({ layer }),
      });
      this.list = new CardList(levels, on);
      this.told = el("p", { role: "status", class: "nx-told" });
      this.title = el("p", { class: "nx-title" });
      this.back = button("← all layers", () => this.set({ layer: -1 }), { class: "nx-quiet" });
      this.table = el("div", {});
      this.key = el("div", {});
      this.cell = el("div", { class: "nx-cell", hidden: true });
      this.cards = el("div", { class: "nx-open-cards" });
      this.root = el("div", { class: "px nx", "data-lm-suppress-shortcuts": "true" },
        payload.run.note && el("p", { class: "nx-note" }, payload.run.note),
        el("div", { class: "nx-top" }, this.controls.element, el("div", { class: "nx-counts" }, this.told, this.table)),
        el("p", { class: "nx-line" }, this.title, this.back),
        this.map.element, this.key, this.cell, this.cards, this.list.element);
      root.replaceChildren(this.root);
      this.restore(this.state, false);
      const theme = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "data-mode"] };
      this.theme = new MutationObserver(() => this.map.draw());
      for (const node of [document.documentElement, document.body]) this.theme.observe(node, theme);
      this.moved = () => {
        const state = this.address.read();
        if (state) this.restore(state, false);
      };
      if (this.options.link) addEventListener("hashchange", this.moved);
      if (linked) this.root.scrollIntoView();
    }

    close() {
      this.theme.disconnect();
      this.map.close();
      removeEventListener("hashchange", this.moved);
    }

    // --- state

    restore(state, told) {
      this.state = state;
      this.map.cursor = -1;
      this.draw();
      this.opened(told);
    }

    // a choice that only the list or the card shows
    note(changes) {
      Object.assign(this.state, changes);
      this.list.rows();
      this.remember();
    }

    set(changes) {
      Object.assign(this.state, changes);
      if ("layer" in changes) this.map.cursor = -1;
      this.cell.hidden = true;
      this.draw();
      this.drawCards();
      this.remember();
    }

    draw() {
      const { state, levels } = this;
      this.controls.show(state);
      const [told, table] = counts(levels, state);
      this.told.textContent = told;
      this.table.replaceChildren(...table);
      this.map.show(state);
      this.title.textContent = this.heading();
      this.back.hidden = state.layer < 0;
      this.key.replaceChildren(legend(this.map, levels, state));
      this.list.show(state);
    }

    heading() {
      const { layer, order } = this.state, { layers, width } = this.levels, size = count(width) + " neurons";
      if (layer < 0) return `${layers} layers × ${size}. Layer 0, nearest the input, is at the top; at the right, neurons marked per layer.`;
      const marked = (list) => count(list.reduce((sum, n) => sum + n, 0));
      const by = order === "rank" ? "strongest level first, equal levels by number" : "by number";
      const { general, specific } = this.map.cells;
      return `Layer ${layer}: ${size}, ${by}, left to right and down; ${marked(general)} marked as G, ${marked(specific)} as S.`;
    }

    // --- choosing a neuron

    // neurons of a cell: the best is opened, the others are named
    choose(neurons, byKey) {
      const { levels, state } = this, shown = levels.of(state.topic);
      const order = (i) => (levels.mark(state, i) ? 2 : 0) + levels.carded[i];
      const sorted = neurons.slice().sort((a, b) => order(b) - order(a) || shown[b] - shown[a] || a - b);
      this.open(sorted[0], byKey);
      if (neurons.length > 1) this.nameOthers(sorted);
    }

    nameOthers(sorted) {
      const { levels, state } = this, rest = sorted.length - LISTED;
      const [first, last] = [Math.min(...sorted), Math.max(...sorted)].map((index) => levels.neuronOf(index));
      const entry = (index) => {
        const mark = levels.mark(state, index), name = levels.name(index), carded = levels.carded[index];
        const key = el("span", { class: "nx-key nx-key-" + ["none", "G", "S"][mark], "aria-hidden": "true" });
        const told = ["not marked", "general", "specific"][mark] + (carded ? ", has a card" : "");
        return el("li", {}, button([key, name], () => this.open(index, false),
          { class: carded && "nx-has", "data-index": index, "aria-label": `Open neuron ${name}, ${told}` }));
      };
      this.cell.replaceChildren(
        el("span", { class: "nx-muted" }, `In this cell (layer ${levels.layerOf(sorted[0])}, neurons ${first}–${last}), ` +
          "marked and strongest first, bold: with a card"),
        el("ul", {}, sorted.slice(0, LISTED).map(entry)),
        rest > 0 ? el("span", { class: "nx-muted" }, `and ${count(rest)} more; choose the layer to see each`) : "");
      this.cell.hidden = false;
      this.markOthers();
    }

    markOthers() {
      for (const node of this.cell.querySelectorAll("button"))
        node.toggleAttribute("data-chosen", Number(node.dataset.index) === this.state.neuron);
    }

    open(index, focus) {
      if (focus && document.activeElement !== document.body) this.from = document.activeElement;
      this.state.neuron = index;
      if (!this.cell.querySelector(`[data-index="${index}"]`)) this.cell.hidden = true;
      const layer = this.levels.layerOf(index);
      if (this.state.layer >= 0 && layer !== this.state.layer) {
        this.state.layer = layer;
        this.draw();
      }
      this.opened(true);
      if (focus) this.cards.querySelector(".nx-card:last-child h3").focus();
    }

    // after the selection changed
    opened(told) {
      const { neuron } = this.state, { levels } = this;
      if (neuron === null) this.cell.hidden = true;
      this.markOthers();
      this.map.select(neuron);
      this.list.mark();
      this.drawCards();
      if (!told) return;
      this.remember();
      const place = neuron === null ? [-1, -1] : [levels.layerOf(neuron), levels.neuronOf(neuron)];
      if (this.options.selected) this.options.selected(neuron, ...place);
    }

    // the card kept beside stands first
    drawCards() {
      const { neuron, beside } = this.state;
      const shown = [...new Set([beside, neuron])].filter((index) => index !== null);
      const on = {
        variant: (variant) => {
          this.state.variant = variant;
          this.remember();
        },
        keep: (index) => {
          this.state.beside = index;
          this.drawCards();
          this.remember();
        },
        close: (index) => this.leave(index),
      };
      this.cards.classList.toggle("nx-pair", shown.length > 1);
      this.cards.replaceChildren(...shown.map((index) => X.cardOf(this.levels, index, shown, this.state, on)));
      const kept = shown.length === 1 && beside !== null;
      if (kept) this.cards.querySelector("[name=keep]").replaceWith(
        el("span", { class: "nx-muted" }, "kept: choose another to stand beside it"));
      if (!shown.length) this.cards.append(el("p", { class: "nx-muted" },
        "Choose a neuron on the map, in the list below, or by its number to see its card."));
    }

    leave(index) {
      const { state } = this;
      if (index === state.beside) state.beside = null;
      if (index === state.neuron) state.neuron = state.beside;
      if (state.neuron === state.beside) state.beside = null;
      this.opened(true);
      if (this.from && this.from.isConnected) this.from.focus();
    }

    jump(text) {
      const found = X.parseNeuron(text, this.levels);
      if (typeof found === "string") return found;
      this.open(found, true);
      return "";
    }

    // --- link

    remember() {
      if (!this.options.link) return;
      clearTimeout(this.timer); // browsers refuse many changes of the address in a row
      this.timer = setTimeout(() => this.address.keep(this.state), 150);
    }

    async copy() {
      this.controls.told.textContent = await this.address.share(this.state);
    }
  }

  X.render = (root, payload, blobs, options) => {
    const explorer = new Explorer(root, payload, blobs, options);
    return {
      open(layer, neuron) {
        const index = X.parseNeuron(layer + "." + neuron, explorer.levels);
        if (typeof index === "number" && index !== explorer.state.neuron) explorer.open(index, false);
      },
      close: () => explorer.close(),
    };
  };
  if (polinb.register) polinb.register("explorer", X.render);
})();
