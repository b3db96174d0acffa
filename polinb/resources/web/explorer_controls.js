// The explorer's controls, its table of counts and the map's legend.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, short, count } = X;

  function select(name, choices, change) {
    const node = el(
      "select",
      { name, onchange: () => change(node.value) },
      choices.map(([value, text]) => el("option", { value }, text)),
    );
    return node;
  }

  const field = (title, node, ...more) => el("label", { class: "nx-field" }, el("span", {}, title), node, more);
  const button = (text, press, more) => el("button", { type: "button", onclick: press, ...more }, text);

  class Controls {
    // on: {set(changes), jump(text) → error or "", reset(), copy()}; options.link: a link can be copied
    constructor(levels, on, options) {
      this.levels = levels;
      const topics = [["-1", "all topics"], ...levels.topics.map((topic, t) => [String(t), topic])];
      const layers = [
        ["-1", "all layers"],
        ...Array.from({ length: levels.layers }, (_, l) => [String(l), "layer " + l]),
      ];
      this.topic = select("topic", topics, (v) => on.set({ topic: Number(v) }));
      this.type = select("type", Object.entries(X.TYPES), (type) => on.set({ type }));
      this.layer = select("layer", layers, (v) => on.set({ layer: Number(v) }));
      this.order = select(
        "order",
        [
          ["index", "neuron number"],
          ["rank", "rank"],
        ],
        (order) => on.set({ order }),
      );
      this.orderField = field("Sorted by", this.order);
      this.gamma = el("input", {
        type: "range",
        name: "gamma",
        min: 0,
        max: levels.payload.gammas.length - 1,
        step: 1,
        oninput: () => on.set({ gamma: Number(this.gamma.value) }),
      });
      this.gammaText = el("strong", {}); // not <output>: the label would name that one instead of the slider
      this.cards = el("input", {
        type: "checkbox",
        name: "cards",
        onchange: () => on.set({ cards: this.cards.checked }),
      });
      this.told = el("span", { class: "nx-muted", role: "status" });
      this.link = el("input", {
        type: "text",
        readonly: true,
        hidden: true,
        "aria-label": "Link to this view",
        class: "nx-link",
      });
      const copy = options.link ? button("Copy link", on.copy, { name: "copy" }) : null;
      this.element = el(
        "div",
        { class: "nx-controls" },
        el(
          "div",
          { class: "nx-fields" },
          field("Topic", this.topic),
          field("Type", this.type),
          field("Layer", this.layer),
          this.orderField,
          el(
            "label",
            { class: "nx-field nx-wide" },
            el("span", {}, "γ, share kept per topic: ", this.gammaText),
            this.gamma,
          ),
          el("label", { class: "nx-check" }, this.cards, "only neurons with cards"),
        ),
        this.jump(on),
        el("p", { class: "nx-line" }, button("Reset", on.reset, { name: "reset" }), copy, this.told),
        this.link,
      );
    }

    jump(on) {
      const error = el("p", { class: "nx-error", role: "alert", hidden: true });
      const input = el("input", {
        type: "text",
        name: "jump",
        placeholder: "layer.neuron",
        inputmode: "decimal",
        autocomplete: "off",
        size: 12,
      });
      const go = (event) => {
        event.preventDefault();
        const wrong = on.jump(input.value);
        error.textContent = wrong;
        error.hidden = !wrong;
        input.setAttribute("aria-invalid", String(Boolean(wrong)));
      };
      return el(
        "form",
        { class: "nx-jump", onsubmit: go, novalidate: true },
        field("Go to neuron", input),
        el("button", { type: "submit" }, "Open"),
        error,
      );
    }

    show(state) {
      const { payload } = this.levels;
      this.topic.value = String(state.topic);
      this.type.value = state.type;
      this.layer.value = String(state.layer);
      this.order.value = state.order;
      this.orderField.hidden = state.layer < 0;
      this.gamma.value = String(state.gamma);
      this.cards.checked = state.cards;
      const text = short(payload.gammas[state.gamma]) + " %";
      this.gammaText.textContent = text + (payload.gammas[state.gamma] === payload.gamma ? " (this run's)" : "");
      this.gamma.setAttribute("aria-valuetext", text.replace("%", "per cent"));
    }

    // show a link for copying by hand where the clipboard is closed
    offer(link) {
      this.link.value = link;
      this.link.hidden = false;
      this.link.select();
    }
  }

  // Numbers of neurons at one gamma, a row a topic, and a sentence for the chosen view.
  class Counts {
    constructor(levels) {
      this.levels = levels;
      this.told = el("p", { role: "status", class: "nx-told" });
      this.warning = el("p", { class: "nx-error", role: "alert", hidden: true });
      this.table = el("div", {});
      this.element = el("div", { class: "nx-counts" }, this.told, this.warning, this.table);
    }

    show(state) {
      const { levels } = this;
      const tally = levels.tally(state.gamma),
        t = state.topic;
      const gamma = short(levels.payload.gammas[state.gamma]) + " %";
      const share = (n) => count(n) + " (" + X.fixed((100 * n) / levels.total, 2) + " %)";
      const specific =
        t < 0
          ? "specific to some topics " + share(tally.any) + ", to one " + share(tally.alone)
          : "specific to " + levels.topics[t] + " " + share(tally.S[t]) + ", strictly " + share(tally.strict[t]);
      this.told.textContent = "γ = " + gamma + ": general " + share(tally.G) + ", " + specific + ".";
      const wrong = levels.disagreement(state.gamma);
      this.warning.textContent = wrong && "Do not rely on this view: " + wrong + ".";
      this.warning.hidden = !wrong;
      const rows = levels.topics.map((topic, i) => [
        topic,
        count(tally.N[i]),
        count(tally.S[i]),
        count(tally.strict[i]),
      ]);
      const node = X.table(
        "Neurons in the top " +
          gamma +
          " (N), without the general ones (S), and in no other topic's (strict). In all topics: G = " +
          count(tally.G) +
          ".",
        ["topic", "N", "S", "strict"],
        rows,
      );
      if (t >= 0) node.tBodies[0].rows[t].setAttribute("data-chosen", "");
      this.table.replaceChildren(node);
    }
  }

  // What greys and ticks mean; drawn anew when their scale changes.
  function legend(map, levels, state) {
    const { shares } = levels.payload;
    const first = map.first,
      last = levels.highest;
    const scores = state.topic < 0 ? null : (levels.payload.scores_at || {})[state.topicName];
    const log = (k) => Math.log10(shares[k]);
    const marks = [first];
    for (const goal of [50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]) {
      const k = shares.findIndex((s) => s <= goal);
      const gap = Math.abs(log(marks[marks.length - 1]) - log(k)) / (log(first) - log(last));
      const rest = (log(k) - log(last)) / (log(first) - log(last));
      if (k > first && k < last && gap > 0.2 && rest > 0.2) marks.push(k);
    }
    if (last > first) marks.push(last);
    const place = (k) => (100 * (log(first) - log(k))) / (log(first) - log(last) || 1) + "%";
    const label = (k) =>
      Number(shares[k].toPrecision(2)) + " %" + (scores && X.finite(scores[k]) ? "\n" + short(scores[k]) : "");
    const topic = state.topic < 0 ? "in any topic" : "for " + state.topicName;
    const shown = state.layer < 0 && map.grid.per > 1 ? "highest of " + map.grid.per + " neurons" : "level";
    return el(
      "div",
      { class: "nx-legend" },
      el(
        "div",
        { class: "nx-scale" },
        el("span", {}, "Grey: " + shown + " " + topic + ", as the top share" + (scores ? " and its score" : "")),
        el("div", { class: "nx-ramp" }),
        el(
          "div",
          { class: "nx-steps" },
          marks.map((k, i) =>
            el(
              "span",
              { style: (i ? "left:" + place(k) : "left:0") + (i ? "" : ";transform:none") },
              (i || k === 0 ? "" : "≥ ") + label(k),
            ),
          ),
        ),
      ),
      el(
        "div",
        { class: "nx-keys" },
        el("span", {}, el("span", { class: "nx-key nx-key-G" }), "general (G): filled"),
        el(
          "span",
          {},
          el("span", { class: "nx-key nx-key-S" }),
          (state.type === "strict" ? "strictly specific" : "specific (S)") +
            (state.topic < 0 ? "" : " to " + state.topicName) +
            ": hollow",
        ),
        map.grid.per > 1 && state.layer < 0 ? el("span", {}, "taller: more neurons") : null,
        el("span", {}, el("span", { class: "nx-key nx-key-here" }), "opened"),
      ),
    );
  }

  Object.assign(X, { Controls, Counts, legend });
})();
