// The list of all cards as a table that can be sorted and searched: the way to the cards without the map.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, short, count } = X;
  const SETS = { G: "G", S: "S", "": "–" };

  // Columns: title, value to sort by, what is shown. t: the chosen topic, or -1 for the neuron's strongest.
  function columns(levels, view, number) {
    const topic = (row) => (view.topic < 0 ? row.top : view.topic);
    const list = [
      { id: "neuron", title: "neuron", by: (row) => row.index },
      {
        id: "set",
        title: "set",
        by: (row) => row.kind || "~",
        show: (row) => X.badge(row.kind, row.kind === "S" ? "S " + row.inside.join(", ") : SETS[row.kind]),
      },
      {
        id: "score",
        title: view.topic < 0 ? "highest score" : "score, " + view.topicName,
        falling: true,
        by: (row) => row.card.scores[topic(row)],
        show: (row) => short(row.card.scores[topic(row)]) + (view.topic < 0 ? " (" + levels.topics[row.top] + ")" : ""),
      },
      {
        id: "rank",
        title: "rank",
        by: (row) => (row.card.ranks || [])[topic(row)],
        show: (row) => count((row.card.ranks || [])[topic(row)]),
      },
      {
        id: "norm",
        title: "rank, norm.",
        by: (row) => (row.card.rank_normalised || [])[topic(row)],
        show: (row) => count((row.card.rank_normalised || [])[topic(row)]),
      },
      {
        id: "effect",
        title: "ablation effect",
        falling: true,
        by: (row) => row.effect && row.effect.effect,
        show: (row) =>
          row.effect
            ? number(row.effect.effect) + " [" + number(row.effect.low) + ", " + number(row.effect.high) + "]"
            : "–",
      },
      {
        id: "tokens",
        title: "promotes",
        by: (row) => row.words,
        show: (row) => (row.card.promoted || []).slice(0, 3).map(([token]) => X.tokenChip(token)),
      },
    ];
    return list;
  }

  class CardList {
    // on: {open(index)}
    constructor(levels, on) {
      this.levels = levels;
      this.on = on;
      this.sort = { id: "", falling: false };
      this.search = el("input", {
        type: "search",
        placeholder: "neuron, topic or token",
        oninput: () => this.rows(),
        "aria-label": "Search the cards",
      });
      this.told = el("span", { class: "nx-muted", role: "status" });
      this.table = el("table", { class: "nx-table nx-list" });
      const scroll = el(
        "div",
        { class: "nx-scroll", tabindex: "0", role: "group", "aria-label": "Table of cards" },
        this.table,
      );
      this.element = el(
        "section",
        { class: "nx-part nx-cards" },
        el("h3", {}, "All cards"),
        el("p", { class: "nx-line" }, this.search, this.told),
        scroll,
      );
    }

    show(view) {
      this.view = { ...view };
      this.all = this.levels.payload.cards.map((card) => this.row(card));
      const effects = this.all.flatMap(({ effect }) => (effect ? [effect.effect, effect.low, effect.high] : []));
      this.columns = columns(this.levels, view, X.column(effects));
      this.rows();
    }

    row(card) {
      const { levels, view } = this;
      const index = levels.index(card.layer, card.neuron);
      let top = 0;
      card.scores.forEach((score, t) => {
        if (score > card.scores[top]) top = t;
      });
      const ablation = card.ablation || {};
      const topic = view.topic < 0 ? null : (ablation.topics || []).find((found) => found.topic === view.topicName);
      const words = (card.promoted || []).map(([token]) => String(token).trim().toLowerCase()).join(" ");
      const inside = levels.topicsOf(index, view.gamma);
      return {
        card,
        index,
        top,
        words,
        inside,
        kind: levels.kind(index, view.gamma),
        effect: view.topic < 0 ? ablation.all : topic,
      };
    }

    // the cards that the filters and the search leave
    kept() {
      const { view, levels } = this;
      const marks = levels.marks(view.topic, view.type),
        mask = levels.mask(view.gamma);
      const words = this.search.value.toLowerCase().trim();
      const found = (row) =>
        [levels.name(row.index), row.card.topic, ...row.inside, row.words, row.kind]
          .join(" ")
          .toLowerCase()
          .includes(words);
      return this.all.filter(
        (row) =>
          (view.type === "all" || marks[mask[row.index]]) &&
          (view.layer < 0 || row.card.layer === view.layer) &&
          (!words || found(row)),
      );
    }

    rows() {
      const kept = this.kept(),
        column = this.columns.find((c) => c.id === this.sort.id);
      if (column) {
        const order = (a, b) =>
          a === undefined || b === undefined ? (a === undefined) - (b === undefined) : (a > b) - (a < b) || 0;
        kept.sort((a, b) => order(column.by(a), column.by(b)) * (this.sort.falling ? -1 : 1));
      }
      this.told.textContent =
        count(kept.length) + " of " + X.many(this.all.length, "card") + " under the filters above";
      this.table.replaceChildren(
        this.head(),
        el(
          "tbody",
          {},
          kept.map((row) => this.line(row)),
        ),
      );
      this.mark(this.view.selected);
    }

    head() {
      const cell = (column) => {
        const mine = column.id === this.sort.id;
        const press = () => {
          this.sort = { id: column.id, falling: mine ? !this.sort.falling : Boolean(column.falling) };
          this.rows();
          this.table.querySelector("[data-column=" + column.id + "]").focus();
        };
        const arrow = el("span", { "aria-hidden": "true" }, mine ? (this.sort.falling ? " ▾" : " ▴") : "");
        const sorted = mine ? (this.sort.falling ? "descending" : "ascending") : null;
        return el(
          "th",
          { scope: "col", "aria-sort": sorted, class: "nx-col-" + column.id },
          el("button", { type: "button", "data-column": column.id, onclick: press }, column.title, arrow),
        );
      };
      return el("thead", {}, el("tr", {}, this.columns.map(cell)));
    }

    line(row) {
      const name = this.levels.name(row.index);
      const open = el(
        "button",
        {
          type: "button",
          class: "nx-open",
          onclick: () => this.on.open(row.index),
          "aria-label": "Open neuron " + name,
        },
        name,
      );
      const cells = this.columns.slice(1).map((column) => el("td", { class: "nx-col-" + column.id }, column.show(row)));
      return el("tr", { "data-index": row.index }, el("th", { scope: "row" }, open), cells);
    }

    mark(index) {
      this.view.selected = index;
      for (const line of this.table.querySelectorAll("tbody tr"))
        line.toggleAttribute("data-chosen", Number(line.dataset.index) === index);
    }
  }

  Object.assign(X, { CardList });
})();
