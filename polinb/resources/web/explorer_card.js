// The card of one neuron: its scores, activation scale, tokens, activation in the tuned models, contexts and effect when
// ablated; for a neuron without a card, what the levels alone say. Two cards side by side share the ranges of their plots.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, svg, button, table, finite, short, signed, count, many, column, oneLine, save, copy } = polinb.dom;
  const LIMITS =
    "What this does not show: a high score says that the activation differs between the left- and the right-tuned " +
    "model, not that the neuron holds an opinion. Tokens are read off the value vector alone, without the layers after " +
    "it; the contexts come from this run's prompts only; other neurons may take over when this one is ablated.";
  const MARKS = { vanilla: "circle", left: "square", right: "triangle" };
  const TITLES = { vanilla: "vanilla", left: "left-tuned", right: "right-tuned" };
  const SETS = { G: "general (G)", S: "topic-specific (S)" };
  const PATHS = {
    circle: "M-4.4,0a4.4,4.4 0 1,0 8.8,0a4.4,4.4 0 1,0 -8.8,0",
    square: "M-4.2,-4.2H4.2V4.2H-4.2Z",
    triangle: "M0,-5.4L5,4H-5Z",
    diamond: "M0,-5.6L5.6,0L0,5.6L-5.6,0Z",
  };
  let ids = 0;

  const muted = (...text) => el("p", { class: "nx-muted" }, text);

  // A token standing alone: spaces at its ends become thin gaps that can be seen.
  function tokenChip(token) {
    const text = oneLine(token), inner = text.trim();
    const gap = (n) => Array.from({ length: n }, () => el("span", { class: "nx-gap" }, "\u00a0"));
    const lead = inner ? text.indexOf(inner) : text.length || 1;
    return el("bdi", { class: "nx-token" }, gap(lead), inner, gap(Math.max(0, text.length - lead - inner.length)));
  }

  // --- plots and tables

  const shape = (name, className) => svg("path", { d: PATHS[name], class: className });
  const glyph = (name, className) =>
    svg("svg", { class: "nx-glyph", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, shape(name, className));

  // Range of the finite numbers and 0, never empty.
  function range(values) {
    const all = [0, ...values.filter(finite)];
    const low = Math.min(...all), high = Math.max(...all);
    return high > low ? [low, high] : [low - 1, high + 1];
  }

  // One row of a plot on a range that holds 0; the numbers stand beside it as text.
  // items: [kind, class, value, end or shape]: bar from 0, band and line to an end, tick, dot
  function plotRow([low, high], items) {
    const place = (v) => 3 + (94 * (Math.min(high, Math.max(low, v)) - low)) / (high - low);
    const rule = (a, b, y1, y2, name) => svg("line", { x1: place(a) + "%", x2: place(b) + "%", y1, y2, class: name });
    const box = (a, b, y, height, name) => {
      const [from, to] = [place(Math.min(a, b)), place(Math.max(a, b))];
      return svg("rect", { x: from + "%", width: Math.max(0.4, to - from) + "%", y, height, class: name });
    };
    const draw = {
      bar: (name, v) => box(0, v, "25%", "50%", name),
      band: (name, v, end) => box(v, end, 0, "100%", name),
      line: (name, v, end) => rule(v, end, "50%", "50%", name),
      tick: (name, v) => rule(v, v, "8%", "92%", name),
      dot: (name, v, mark) => svg("svg", { x: place(v) + "%", y: "50%", overflow: "visible" }, shape(mark, name)),
    };
    const drawn = items
      .filter(([, , v, end]) => finite(v) && (typeof end !== "number" && end !== null || finite(end)))
      .map(([kind, ...rest]) => draw[kind](...rest));
    return svg("svg", { class: "nx-plot", "aria-hidden": "true" }, rule(0, 0, 0, "100%", "nx-zero"), drawn);
  }

  // --- the card

  // shown: numbers of the neurons side by side, this one among them; on: {variant(name), close(index), keep(index)}
  function cardOf(levels, index, shown, view, on) {
    const card = levels.cards.get(index);
    const all = shown.map((each) => levels.cards.get(each)).filter(Boolean);
    const head = heading(levels, index, shown, view, on);
    const part = (title, ...content) => el("section", { class: "nx-part" }, el("h4", {}, title), content);
    const parts = card
      ? [
          part("Scores", scores(levels, card, all, view), scale(levels, card)),
          part("Tokens of its value vector", tokens(levels, card)),
          part("Activation in the tuned models", activation(levels, card, all), histogram(card.histogram)),
          part("Strongest contexts", contexts(levels, card, view, on)),
          part("Ablation", ablation(levels, card, all), live(levels, index)),
          el("p", { class: "nx-note" }, LIMITS),
        ]
      : plain(levels, index, view);
    return el("section", { class: "nx-card", "aria-labelledby": head.querySelector("h3").id }, head, parts);
  }

  function heading(levels, index, shown, view, on) {
    const kind = levels.kind(index, view.gamma), inside = levels.topicsOf(index, view.gamma);
    const top = "in the top " + levels.gamma(view.gamma) + " for ";
    const said = { G: top + "every topic", S: top + inside.join(", "), "": "not " + top + "any topic" }[kind];
    const name = kind === "S" && inside.length === 1 ? "strictly specific (S)" : SETS[kind] || "in no set";
    const text = () => JSON.stringify(levels.data(index), null, 1) + "\n";
    const file = "neuron-" + levels.name(index) + ".json";
    const quiet = (title, press, more) => button(title, press, { class: "nx-quiet", ...more });
    const copied = async (event) => {
      event.target.textContent = (await copy(text())) ? "Copied" : "No clipboard here";
    };
    return el("header", {},
      el("h3", { id: "nx-card-" + ++ids, tabindex: "-1" }, "Neuron " + levels.name(index)),
      badge(kind, name), el("span", { class: "nx-muted" }, said),
      el("span", { class: "nx-actions" },
        shown.length < 2 && quiet("Keep beside the next", () => on.keep(index), { name: "keep" }),
        quiet("Copy JSON", copied, { name: "copy-json" }),
        quiet("Save JSON", () => save(file, "application/json", text()), { name: "save-json" }),
        quiet("Close", () => on.close(index), { name: "close" })));
  }

  const badge = (kind, text) => el("span", { class: "nx-badge" },
    kind && el("span", { class: "nx-key nx-key-" + kind, "aria-hidden": "true" }), text);

  function plain(levels, index, view) {
    const { payload } = levels, gamma = levels.gamma(view.gamma), own = levels.gamma(levels.own);
    const rows = levels.topics.map((topic, t) => {
      const level = levels.at(t, index);
      return [topic, levels.share(level), level >= payload.cuts[view.gamma] ? "inside" : "outside"];
    });
    // what gives a neuron of its kind (at the γ of the run, whatever the slider says) a card
    const kind = levels.kind(index, levels.own);
    const more = kind
      ? `It is ${SETS[kind]} at the run's γ of ${own}: a higher papermill parameter ` +
        { G: "cards_general", S: "cards_specific" }[kind] + " gives more of these a card."
      : `Only neurons of a set get a card, and at the run's γ of ${own} it is in none.`;
    const place = "Its place by score among all neurons of the " + payload.pool;
    return [
      table(place, ["topic", "place", "the top " + gamma], rows),
      el("p", { class: "nx-note" },
        "This book has cards for " + many(payload.cards.length, "neuron") + ", and this is not one of them. " + more),
    ];
  }

  // --- scores, scale, tokens

  function scores(levels, card, all, view) {
    const { payload } = levels, cut = payload.cuts[view.gamma];
    const needed = levels.topics.map((topic) => payload.scores_at[topic][cut]);
    const span = range([...all.flatMap((each) => each.scores), ...needed]);
    const rows = levels.topics.map((topic, t) => [
      topic,
      plotRow(span, [["bar", "nx-bar", card.scores[t]], ["tick", "nx-cut", needed[t]]]),
      short(card.scores[t]),
      count(card.ranks[t]),
      count(card.rank_normalised[t]),
    ]);
    const caption = `PNLAC score (${payload.run.score}) by topic and its rank in the ${payload.pool} (1: strongest). The line marks the ` +
      `score needed at γ = ${levels.gamma(view.gamma)}. Last column: rank of the score over the vanilla standard deviation.`;
    return table(caption, ["topic", "", "score", "rank", "rank, norm."], rows);
  }

  function scale(levels, card) {
    const pool = levels.payload.pool === "layer" ? levels.width : levels.total;
    return el("p", {}, "Activation scale: its vanilla RMS activation is " + short(card.scale) + ", rank " +
      count(card.scale_rank) + " of " + count(pool) + ". A neuron near the top in scale but far down in the normalised " +
      "ranks scores high because its activations are large.");
  }

  const unit = (levels, name) => ` Unit: ${levels.payload.units[name]}.`;

  function tokens(levels, card) {
    const number = column([...card.promoted, ...card.suppressed].map(([, value]) => value));
    const line = ([token, value]) => el("li", {}, tokenChip(token), el("span", { class: "nx-number" }, number(value)));
    const list = (side) =>
      el("div", {}, el("h5", {}, side), el("ol", { class: "nx-tokens" }, card[side].map(line)));
    return [
      muted("What its value vector, read through the unembedding, raises and lowers most at a positive activation; a " +
        "negative one turns it round." + unit(levels, "lens")),
      el("div", { class: "nx-two" }, list("promoted"), list("suppressed")),
    ];
  }

  // --- activation

  const key = (items) =>
    el("p", { class: "nx-legend" }, items.map(([name, mark]) => el("span", {}, mark, name)));

  function activation(levels, card, all) {
    const values = (each) => each.activation.flatMap((row) => X.MODELS.map((model) => row[model]));
    const span = range(all.flatMap(values)), number = column(values(card));
    const rows = card.activation.map((row) => [
      row.topic,
      plotRow(span, X.MODELS.map((model) => ["dot", "nx-dot-" + model, row[model], MARKS[model]])),
      ...X.MODELS.map((model) => number(row[model])),
      count(row.n),
    ]);
    const caption = "Mean activation over answer tokens; the tuned models are those of the row's topic. n: tokens." +
      unit(levels, "activation");
    return [
      key(X.MODELS.map((model) => [model, glyph(MARKS[model], "nx-dot-" + model)])),
      table(caption, ["topic", "", ...X.MODELS, "n"], rows),
    ];
  }

  // How often each activation occurs: vanilla filled, the tuned models as outlines, on a square-root scale.
  function histogram(found) {
    if (!found) return muted("The distribution of its activations was not kept by this run.");
    const bins = found.vanilla.length, tall = 80, wide = 10 * bins;
    const total = (model) => found[model].reduce((sum, n) => sum + n, 0) || 1;
    const shares = Object.fromEntries(X.MODELS.map((model) => [model, found[model].map((n) => n / total(model))]));
    const top = Math.max(...X.MODELS.flatMap((model) => shares[model]));
    const steps = (model) =>
      shares[model].map((share, i) => `${10 * i},${tall * (1 - Math.sqrt(share / top))} h10`).join(" L");
    const outline = (model, end) => svg("path", { d: "M0," + tall + " L" + steps(model) + " V" + tall + end,
      class: "nx-hist-" + model, "vector-effect": "non-scaling-stroke" });
    const [low, high] = [found.first, found.first + bins].map((i) => i * found.width);
    const zero = -10 * found.first;
    const above = X.MODELS.map((model) => {
      const share = shares[model].slice(Math.max(0, -found.first)).reduce((sum, n) => sum + n, 0);
      return `${TITLES[model]} ${Math.round(100 * share)} %`;
    }).join(", ");
    return el("div", { class: "nx-hist" },
      muted("Activations on answer tokens of all topics, a bin " + short(found.width) +
        " wide; heights on a square-root scale, the outermost bins hold all beyond. Above 0: " + above + "."),
      svg("svg", { viewBox: `0 0 ${wide} ${tall}`, preserveAspectRatio: "none", role: "img",
        "aria-label": "Histogram of its activations. Above 0: " + above },
      X.MODELS.map((model) => outline(model, model === "vanilla" ? "Z" : "")),
      svg("line", { x1: zero, x2: zero, y1: 0, y2: tall, class: "nx-zero", "vector-effect": "non-scaling-stroke" })),
      el("p", { class: "nx-axis nx-muted" }, el("span", {}, short(low)), el("span", {}, short(high))));
  }

  // --- contexts: tokens tinted by activation; sign by hue and by the line below, numbers with pointer or arrow keys

  const WRITER = Object.fromEntries(X.MODELS.map((model) => [model, `answer of the ${TITLES[model]} model`]));
  const valuesOf = (context, variant) => context[variant === "vanilla" ? "values" : variant];

  function contexts(levels, card, view, on) {
    const all = card.contexts.slice();
    const chosen = levels.topics[view.topic];
    all.sort((a, b) => (b.topic === chosen) - (a.topic === chosen)); // the chosen topic's first; sorting is stable
    const every = all.flatMap((c) => X.MODELS.flatMap((model) => valuesOf(c, model).filter(finite).map(Math.abs)));
    const top = Math.max(1e-12, ...every);
    const list = el("ol", { class: "nx-contexts" });
    const draw = (variant) => list.replaceChildren(...all.map((context) => one(context, variant, top)));
    const group = "nx-variant-" + ++ids;
    const choice = (model) => {
      const change = () => {
        on.variant(model);
        draw(model);
      };
      const given = { type: "radio", name: group, value: model, checked: model === view.variant, onchange: change };
      return el("label", {}, el("input", given), TITLES[model]);
    };
    const sample = (text, sign) => tint(el("span", { class: "nx-tok" }, text), sign, 1);
    draw(view.variant);
    return [
      el("fieldset", { class: "nx-choice" }, el("legend", {}, "Activation in the model"), X.MODELS.map(choice)),
      el("p", { class: "nx-legend" }, sample("positive", 0.8), sample("negative", -0.8), el("span", {},
        "strongest tint: activation of size " + short(top) + ", the same for the three models")),
      list,
    ];
  }

  function tint(span, value, top) {
    const size = Math.min(1, Math.abs(value) / top);
    if (!(size > 0.04)) return span;
    span.classList.add(value > 0 ? "nx-pos" : "nx-neg");
    span.style.setProperty("--nx-size", (0.06 + 0.44 * size).toFixed(3)); // the text's contrast holds at the top
    if (size > 0.25) span.classList.add("nx-strong");
    return span;
  }

  function one(context, variant, top) {
    const values = valuesOf(context, variant);
    const readout = el("p", { class: "nx-readout", "aria-live": "polite" });
    const spans = context.tokens.map((token, i) => {
      const peak = i === context.peak ? " nx-peak" : "";
      return tint(el("span", { class: "nx-tok" + peak, onpointerenter: () => read(i) }, oneLine(token)), values[i], top);
    });
    let at = context.peak;
    const read = (i) => {
      spans[at].classList.remove("nx-here");
      at = i;
      spans[at].classList.add("nx-here");
      const numbers = X.MODELS.map((model) => TITLES[model] + " " + signed(valuesOf(context, model)[i]));
      const what = i === context.peak ? "peak " : "token ";
      readout.replaceChildren(what, tokenChip(context.tokens[i]), " " + numbers.join(" · "));
    };
    const step = (event) => {
      const last = spans.length - 1;
      const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      read(Math.min(last, Math.max(0, next)));
    };
    read(context.peak);
    const from = [context.topic, WRITER[context.source] || context.source].filter(Boolean).join(", ");
    const text = el("p", { class: "nx-context", tabindex: "0", role: "group", onkeydown: step,
      onpointerleave: () => read(context.peak), "aria-label": "Context; arrow keys read each token's activation" }, spans);
    return el("li", {}, muted(from, ", from token " + context.start), text, readout);
  }

  // --- ablation

  // Into the page where the model answers, if this is a page of the book and shows the model that is there.
  function live(levels, index) {
    const top = document.documentElement.dataset.content_root;
    if (top === undefined || levels.payload.run.model !== "smollm2-135m-instruct") return null;
    const href = top + "try.html#try:set=own&kind=ablate&own=" + levels.name(index);
    return el("p", {}, el("a", { href }, "Ablate it live"));
  }

  function ablation(levels, card, all) {
    const any = levels.payload.null, chance = any.loud; // the fair ones are random neurons of a scale like the cards'
    const rowsOf = ({ ablation: { all: whole, topics } }) => [
      { topic: "all topics", ...whole, band: chance.all },
      ...topics.map((row) => ({ ...row, band: chance.effect[row.topic] })),
    ];
    const values = (each) => rowsOf(each).flatMap((row) => [row.effect, row.low, row.high, ...row.band]);
    const span = range(all.flatMap(values)), number = column(values(card));
    const rows = rowsOf(card).map(({ topic, effect, low, high, band }) => [
      topic,
      plotRow(span, [
        ["band", "nx-band", ...band], ["line", "nx-whisker", low, high], ["dot", "nx-effect", effect, "diamond"],
      ]),
      number(effect),
      `[${number(low)}, ${number(high)}]`,
      band.map(number).join(" to "),
    ]);
    const caption = "Effect of setting the neuron to zero. Line: interval. Grey and last column: lowest to highest effect " +
      `of ${many(chance.n, "random neuron")}, of as large a scale as possible. Of ${any.n} drawn from all, over all topics: ` +
      any.all.map(number).join(" to ") + "." + unit(levels, "effect");
    return table(caption, ["topic", "← left · right →", "effect", "interval", "random"], rows, { class: "nx-wide" });
  }

  Object.assign(X, { cardOf, badge, tokenChip });
})();
