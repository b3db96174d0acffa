// The card of one neuron: its scores, loudness, tokens, activation in the tuned models and effect when ablated; for
// a neuron without a card, what the levels alone say.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, short, count, plotRow, range, table } = X;
  const NOT_SHOWN =
    "What this does not show: a high score says that the activation differs between the left- and the right-tuned " +
    "model, not that the neuron holds an opinion. Tokens are read off the value vector alone, without the layers after " +
    "it; the contexts come from this run's prompts only; other neurons may take over when this one is ablated.";
  const MODELS = [
    ["vanilla", "circle"],
    ["left", "square"],
    ["right", "triangle"],
  ];

  // view: the explorer's state; on: {variant(name), close()}
  function cardOf(levels, index, view, on) {
    const card = levels.cards.get(index);
    const head = heading(levels, index, view, on);
    const own = { "aria-labelledby": head.querySelector("h3").id };
    if (!card) return el("section", { class: "nx-card", ...own }, head, plain(levels, index, view));
    return el(
      "section",
      { class: "nx-card", ...own },
      head,
      part("Scores", scores(levels, card, view), loudness(levels, card)),
      part("Tokens of its value vector", tokens(levels, card)),
      part("Activation in the tuned models", activation(levels, card)),
      part("Strongest contexts", X.contexts(card, view, on)),
      part("Ablation", ablation(levels, card), live(levels, index)),
      el("p", { class: "nx-note" }, NOT_SHOWN),
    );
  }

  let ids = 0;
  function heading(levels, index, view, on) {
    const kind = levels.kind(index, view.gamma),
      inside = levels.topicsOf(index, view.gamma);
    const gamma = short(levels.payload.gammas[view.gamma]) + " %";
    const said = {
      G: "in the top " + gamma + " for every topic",
      S: "in the top " + gamma + " for " + inside.join(", "),
      "": "not in the top " + gamma + " for any topic",
    };
    const name = {
      G: "general (G)",
      S: inside.length === 1 ? "strictly specific (S)" : "topic-specific (S)",
      "": "in no set",
    };
    const title = el("h3", { id: "nx-card-" + ++ids, tabindex: "-1" }, "Neuron " + levels.name(index));
    const close = el("button", { type: "button", class: "nx-quiet", onclick: on.close }, "Close");
    return el("header", {}, title, badge(kind, name[kind]), el("span", { class: "nx-muted" }, said[kind]), close);
  }

  function badge(kind, text) {
    return el(
      "span",
      { class: "nx-badge" },
      kind && el("span", { class: "nx-key nx-key-" + kind, "aria-hidden": "true" }),
      text,
    );
  }

  const part = (title, ...content) => el("section", { class: "nx-part" }, el("h4", {}, title), content);

  // What gives a neuron of this kind (at the γ of the run, whatever the slider says) a card.
  function more(kind, gamma) {
    const name = { G: "cards_general", S: "cards_specific" }[kind];
    const set = { G: "general (G)", S: "topic-specific (S)" }[kind];
    return name
      ? "It is " + set + " at the run's γ of " + gamma + ": a higher papermill parameter " + name + " gives more of these a card."
      : "Only neurons of a set get a card, and at the run's γ of " + gamma + " it is in none.";
  }

  function plain(levels, index, view) {
    const { payload } = levels;
    const rows = levels.topics.map((topic, t) => [
      topic,
      levels.share(levels.at(t, index)),
      levels.at(t, index) >= payload.cuts[view.gamma] ? "inside" : "outside",
    ]);
    const gamma = short(payload.gammas[view.gamma]) + " %";
    return el(
      "div",
      {},
      table(
        "Its place by score among all neurons of the " + payload.pool,
        ["topic", "place", "the top " + gamma],
        rows,
      ),
      el(
        "p",
        { class: "nx-note" },
        "This book has cards for " +
          X.many(payload.cards.length, "neuron") +
          ", and this is not one of them. " +
          more(levels.kind(index, payload.gammas.indexOf(payload.gamma)), short(payload.gamma) + " %"),
      ),
    );
  }

  // --- scores and loudness ---

  const known = (list) => (Array.isArray(list) ? list : []);

  function scores(levels, card, view) {
    const { payload } = levels;
    const cut = payload.cuts[view.gamma];
    const needed = levels.topics.map((topic) => known((payload.scores_at || {})[topic])[cut]);
    const span = range([...card.scores, ...needed.filter(X.finite)], true);
    const rows = levels.topics.map((topic, t) => [
      topic,
      plotRow(span, [
        { bar: card.scores[t], class: "nx-bar" },
        { tick: needed[t], class: "nx-cut" },
      ]),
      short(card.scores[t]),
      count(known(card.ranks)[t]),
      count(known(card.rank_normalised)[t]),
    ]);
    const caption =
      "PNLAC score" +
      (payload.run && payload.run.score ? " (" + payload.run.score + ")" : "") +
      " by topic and its rank in the " +
      payload.pool +
      " (1: strongest). The line marks the score needed at γ = " +
      short(payload.gammas[view.gamma]) +
      " %. Last column: rank of the score over the vanilla standard deviation.";
    return table(caption, ["topic", "", "score", "rank", "rank, norm."], rows);
  }

  function loudness(levels, card) {
    return el(
      "p",
      {},
      "Loudness: its vanilla RMS activation is " +
        short(card.scale) +
        ", rank " +
        count(card.scale_rank) +
        " of " +
        count(levels.payload.pool === "layer" ? levels.width : levels.total) +
        ". A neuron near the top in loudness but far down in the normalised ranks scores high because it is loud.",
    );
  }

  // --- tokens ---

  const unit = (levels, name) =>
    (levels.payload.units || {})[name] ? " Unit: " + levels.payload.units[name] + "." : "";

  function tokens(levels, card) {
    const number = X.column([...known(card.promoted), ...known(card.suppressed)].map(([, value]) => value));
    const list = (title, pairs) =>
      el(
        "div",
        {},
        el("h5", {}, title),
        el(
          "ol",
          { class: "nx-tokens" },
          known(pairs).map(([token, value]) =>
            el("li", {}, X.tokenChip(token), el("span", { class: "nx-number" }, number(value))),
          ),
        ),
      );
    return [
      el(
        "p",
        { class: "nx-muted" },
        "What its value vector, read through the unembedding, raises and lowers most at a positive activation; a negative one turns it round." +
          unit(levels, "lens"),
      ),
      el("div", { class: "nx-two" }, list("promoted", card.promoted), list("suppressed", card.suppressed)),
    ];
  }

  // --- activation and ablation ---

  function key(items) {
    return el(
      "p",
      { class: "nx-legend" },
      items.map(([name, glyph]) => el("span", {}, glyph, name)),
    );
  }

  function activation(levels, card) {
    const found = known(card.activation);
    if (!found.length) return el("p", { class: "nx-muted" }, "Not measured in this run.");
    const values = found.flatMap((row) => MODELS.map(([model]) => row[model]));
    const span = range(values, true),
      number = X.column(values);
    const rows = found.map((row) => [
      row.topic,
      plotRow(
        span,
        MODELS.map(([model, shape]) => ({ dot: row[model], shape, class: "nx-dot-" + model })),
      ),
      ...MODELS.map(([model]) => number(row[model])),
      count(row.n),
    ]);
    const caption =
      "Mean activation over answer tokens; the tuned models are those of the row's topic. n: tokens." +
      unit(levels, "activation");
    return [
      key(MODELS.map(([model, shape]) => [model, X.glyph(shape, "nx-dot-" + model)])),
      table(caption, ["topic", "", ...MODELS.map(([model]) => model), "n"], rows),
    ];
  }

  // Into the page where the model answers, if this is a page of the book and shows the model that is there.
  function live(levels, index) {
    const top = document.documentElement.dataset.content_root;
    if (top === undefined || levels.payload.run.model !== "smollm2-135m-instruct") return null;
    const href = top + "try.html#try:set=own&kind=ablate&own=" + levels.name(index);
    return el("p", {}, el("a", { href }, "Ablate it live"));
  }

  function ablation(levels, card) {
    const found = card.ablation;
    if (!found) return el("p", { class: "nx-muted" }, "Not measured in this run.");
    // the fair null first: random neurons as loud as the cards' can be; any random ones only where there are none
    const any = levels.payload.null || {};
    const usable = (one) => one && known(one.all).length > 0 && known(one.all).every(X.finite);
    const matched = usable(any.loud);
    const chance = matched ? any.loud : any;
    const bands = chance.effect || {};
    const all = [
      { topic: "all topics", ...found.all, band: chance.all },
      ...known(found.topics).map((row) => ({ ...row, band: bands[row.topic] })),
    ];
    const values = all.flatMap((row) => [row.effect, row.low, row.high, ...known(row.band)]);
    const span = range(values, true),
      number = X.column(values);
    const rows = all.map((row) => [
      row.topic,
      plotRow(span, [
        { band: known(row.band).length ? row.band : [NaN], class: "nx-band" },
        { line: [row.low, row.high], class: "nx-whisker" },
        { dot: row.effect, shape: "diamond", class: "nx-effect" },
      ]),
      number(row.effect),
      "[" + number(row.low) + ", " + number(row.high) + "]",
      known(row.band).length ? number(row.band[0]) + " to " + number(row.band[1]) : "–",
    ]);
    const others =
      matched && usable(any)
        ? " Of " + any.n + " drawn from all, over all topics: " + any.all.map(number).join(" to ") + "."
        : "";
    const caption =
      "Effect of setting the neuron to zero. Line: interval. Grey and last column: lowest to highest effect of " +
      X.many(chance.n || 0, "random neuron") +
      (matched ? ", as loud as possible." : ".") +
      others +
      unit(levels, "effect");
    return table(caption, ["topic", "← left · right →", "effect", "interval", "random"], rows, "nx-wide");
  }

  Object.assign(X, { cardOf, badge });
})();
