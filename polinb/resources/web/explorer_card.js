// The card of one neuron: its scores, activation scale, tokens, activation in the tuned models, contexts and effect
// when ablated; for a neuron without a card, what the levels alone say. Cards side by side share their plots' ranges.

const LIMITS =
  "What this does not show: a high score says that the activation differs between the left- and the right-tuned " +
  "model, not that the neuron holds an opinion. Tokens are read off the value vector alone, without the layers after " +
  "it; the contexts come from this run's prompts only; other neurons may take over when this one is ablated.";
const TITLES = { vanilla: "vanilla", left: "left-tuned", right: "right-tuned" };
const SETS = { G: "general (G)", S: "topic-specific (S)" };
const SHAPES = {
  vanilla: "M-4.4,0a4.4,4.4 0 1,0 8.8,0a4.4,4.4 0 1,0 -8.8,0",
  left: "M-4.2,-4.2H4.2V4.2H-4.2Z",
  right: "M0,-5.4L5,4H-5Z",
  effect: "M0,-5.6L5.6,0L0,5.6L-5.6,0Z",
};
let ids = 0;

const muted = (...text) => el("p.nx-muted", text);
const unit = (levels, name) => ` Unit: ${levels.payload.units[name]}.`;
const keyOf = (kind) => el("span.nx-key.nx-key-" + kind, { "aria-hidden": "true" });
const badge = (kind, text) => el("span.nx-badge", kind && keyOf(kind), text);
const valuesOf = (context, model) => context[model === "vanilla" ? "values" : model];
const shape = (name, className) => el("path", { d: SHAPES[name], class: className });

// A token standing alone: spaces at its ends become thin gaps that can be seen.
function tokenChip(token) {
  const text = oneLine(token), inner = text.trim(), lead = inner ? text.indexOf(inner) : text.length || 1;
  const gap = (n) => Array.from({ length: n }, () => el("span.nx-gap", "\u00a0"));
  return el("bdi.nx-token", gap(lead), inner, gap(Math.max(0, text.length - lead - inner.length)));
}

// Range of the finite numbers and 0, never empty.
function range(values) {
  const all = [0, ...values.filter(finite)], low = Math.min(...all), high = Math.max(...all);
  return high > low ? [low, high] : [low - 1, high + 1];
}

// One row of a plot on a range that holds 0; the numbers stand beside it as text.
// items: [kind, class, value, end or shape]: bar from 0, band and line to an end, tick, dot
function plotRow([low, high], items) {
  const place = (value) => 3 + (94 * (clamp(value, low, high) - low)) / (high - low);
  const rule = (a, b, y1, y2, name) => el("line", { x1: place(a) + "%", x2: place(b) + "%", y1, y2, class: name });
  const box = (a, b, y, height, name) => {
    const [from, to] = [place(Math.min(a, b)), place(Math.max(a, b))];
    return el("rect", { x: from + "%", width: Math.max(0.4, to - from) + "%", y, height, class: name });
  };
  const draw = {
    bar: (name, v) => box(0, v, "25%", "50%", name),
    band: (name, v, end) => box(v, end, 0, "100%", name),
    line: (name, v, end) => rule(v, end, "50%", "50%", name),
    tick: (name, v) => rule(v, v, "8%", "92%", name),
    dot: (name, v, mark) => el("svg", { x: place(v) + "%", y: "50%", overflow: "visible" }, shape(mark, name)),
  };
  const known = items.filter(([, , ...ends]) => ends.every((end) => finite(end) || end in SHAPES));
  return el("svg.nx-plot", { "aria-hidden": "true" }, rule(0, 0, 0, "100%", "nx-zero"),
    known.map(([kind, ...rest]) => draw[kind](...rest)));
}

// shown: indices of the neurons side by side, this one among them; on: {variant(name), close(index), keep(index)}
function cardOf(levels, index, shown, view, on) {
  const card = levels.cards.get(index), all = shown.map((each) => levels.cards.get(each)).filter(Boolean);
  const id = "nx-card-" + ++ids;
  const part = (title, ...content) => el("section.nx-part", el("h4", title), content);
  return el("section.nx-card", { "aria-labelledby": id }, heading(levels, index, id, shown, view, on), card ? [
    part("Scores", scores(levels, card, all, view), activationScale(levels, card)),
    part("Tokens of its value vector", tokens(levels, card)),
    part("Activation in the tuned models", activation(levels, card, all), histogram(card.histogram)),
    part("Strongest contexts", contexts(levels, card, view, on)),
    part("Ablation", ablation(levels, card, all), live(levels, index)),
    el("p.nx-note", LIMITS),
  ] : plain(levels, index, view));
}

function heading(levels, index, id, shown, view, on) {
  const kind = levels.kind(index, view.gamma), inside = levels.topicsOf(index, view.gamma);
  const top = "in the top " + levels.gamma(view.gamma) + " for ";
  const said = { G: top + "every topic", S: top + inside.join(", "), "": "not " + top + "any topic" }[kind];
  const set = kind === "S" && inside.length === 1 ? "strictly specific (S)" : SETS[kind] || "in no set";
  const text = () => JSON.stringify(levels.data(index), null, 1) + "\n";
  const quiet = (title, name, press) => button(title, press, { class: "nx-quiet", name });
  const told = (done) => (done ? "Copied" : "No clipboard here");
  const copied = async ({ target }) => { target.textContent = told(await copy(text())); };
  return el("header",
    el("h3", { id, tabindex: "-1" }, "Neuron " + levels.name(index)), badge(kind, set), el("span.nx-muted", said),
    el("span.nx-actions",
      shown.length < 2 && quiet("Keep beside the next", "keep", () => on.keep(index)),
      quiet("Copy JSON", "copy-json", copied),
      quiet("Save JSON", "save-json", () => save(`neuron-${levels.name(index)}.json`, "application/json", text())),
      quiet("Close", "close", () => on.close(index))));
}

function plain(levels, index, view) {
  const { payload } = levels, [gamma, own] = [view.gamma, levels.own].map((g) => levels.gamma(g));
  const rows = levels.topics.map((topic, t) => {
    const level = levels.of(t)[index];
    return [topic, levels.share(level), level >= payload.cuts[view.gamma] ? "inside" : "outside"];
  });
  // what gives a neuron of its kind (at the γ of the run, whatever the slider says) a card
  const kind = levels.kind(index, levels.own), name = { G: "cards_general", S: "cards_specific" }[kind];
  const more = kind
    ? `It is ${SETS[kind]} at the run's γ of ${own}: a higher papermill parameter ${name} gives more of these a card`
    : `Only neurons of a set get a card, and at the run's γ of ${own} it is in none`;
  const caption = "Its place by score among all neurons of the " + payload.pool;
  return [table(caption, ["topic", "place", "the top " + gamma], rows), el("p.nx-note",
    `This book has cards for ${many(payload.cards.length, "neuron")}, and this is not one of them. ${more}.`)];
}

function scores(levels, card, all, view) {
  const { run, pool, cuts, scores_at: at } = levels.payload;
  const needed = levels.topics.map((topic) => at[topic][cuts[view.gamma]]);
  const span = range([...all.flatMap((each) => each.scores), ...needed]);
  const rows = levels.topics.map((topic, t) => [
    topic,
    plotRow(span, [["bar", "nx-bar", card.scores[t]], ["tick", "nx-cut", needed[t]]]),
    ...[short(card.scores[t]), count(card.ranks[t]), count(card.rank_normalised[t])],
  ]);
  const gamma = levels.gamma(view.gamma), last = "rank of the score over the vanilla standard deviation";
  const caption = `PNLAC score (${run.score}) by topic and its rank in the ${pool} (1: strongest). The line marks ` +
    `the score needed at γ = ${gamma}. Last column: ${last}.`;
  return table(caption, ["topic", "", "score", "rank", "rank, norm."], rows);
}

function activationScale({ payload, width, total }, card) {
  const pool = payload.pool === "layer" ? width : total;
  const rank = `rank ${count(card.scale_rank)} of ${count(pool)}`;
  return el("p", `Activation scale: its vanilla RMS activation is ${short(card.scale)}, ${rank}. A neuron near the ` +
    "top in scale but far down in the normalised ranks scores high because its activations are large.");
}

function tokens(levels, card) {
  const number = column([...card.promoted, ...card.suppressed].map(([, value]) => value));
  const line = ([token, value]) => el("li", tokenChip(token), el("span.nx-number", number(value)));
  const list = (side) => el("div", el("h5", side), el("ol.nx-tokens", card[side].map(line)));
  const about = "What its value vector, read through the unembedding, raises and lowers most at a positive " +
    "activation; a negative one turns it round.";
  return [muted(about + unit(levels, "lens")), el("div.nx-two", list("promoted"), list("suppressed"))];
}

function activation(levels, card, all) {
  const values = (each) => each.activation.flatMap((row) => MODELS.map((model) => row[model]));
  const span = range(all.flatMap(values)), number = column(values(card));
  const glyph = (model) => el("svg.nx-glyph", { viewBox: "-7 -7 14 14", "aria-hidden": "true" },
    shape(model, "nx-dot-" + model));
  const rows = card.activation.map((row) => [
    row.topic,
    plotRow(span, MODELS.map((model) => ["dot", "nx-dot-" + model, row[model], model])),
    ...MODELS.map((model) => number(row[model])),
    count(row.n),
  ]);
  const caption = "Mean activation over answer tokens; the tuned models are those of the row's topic. n: tokens.";
  return [
    el("p.nx-legend", MODELS.map((model) => el("span", glyph(model), model))),
    table(caption + unit(levels, "activation"), ["topic", "", ...MODELS, "n"], rows),
  ];
}

// How often each activation occurs: vanilla filled, the tuned models as outlines, on a square-root scale.
function histogram(found) {
  if (!found) return muted("The distribution of its activations was not kept by this run.");
  const { first, width, vanilla } = found, bins = vanilla.length, tall = 80;
  const still = { "vector-effect": "non-scaling-stroke" };
  const shares = MODELS.map((model) => found[model].map((n) => n / (sum(found[model]) || 1)));
  const top = Math.max(...shares.flat());
  const outlines = MODELS.map((model, m) => {
    const steps = shares[m].map((share, i) => ` L${10 * i},${tall * (1 - Math.sqrt(share / top))} h10`).join("");
    const d = `M0,${tall}${steps} V${tall}${model === "vanilla" ? "Z" : ""}`;
    return el("path", { d, class: "nx-hist-" + model, ...still });
  });
  const above = "Above 0: " + MODELS.map((model, m) =>
    `${TITLES[model]} ${Math.round(100 * sum(shares[m].slice(Math.max(0, -first))))} %`).join(", ");
  return el("div.nx-hist",
    muted(`Activations on answer tokens of all topics, a bin ${short(width)} wide; heights on a square-root scale, ` +
      `the outermost bins hold all beyond. ${above}.`),
    el("svg", { viewBox: `0 0 ${10 * bins} ${tall}`, preserveAspectRatio: "none", role: "img",
      "aria-label": "Histogram of its activations. " + above }, outlines,
    el("line", { x1: -10 * first, x2: -10 * first, y1: 0, y2: tall, class: "nx-zero", ...still })),
    el("p.nx-axis.nx-muted", [first, first + bins].map((bin) => el("span", short(bin * width)))));
}

// Tokens tinted by activation: sign by hue and by the line below, numbers with pointer or arrow keys.
function contexts(levels, card, view, on) {
  const chosen = levels.topics[view.topic]; // its contexts come first; sorting is stable
  const all = card.contexts.slice().sort((a, b) => (b.topic === chosen) - (a.topic === chosen));
  const every = all.flatMap((context) => MODELS.flatMap((model) => valuesOf(context, model))).filter(finite);
  const top = Math.max(1e-12, ...every.map(Math.abs));
  const list = el("ol.nx-contexts"), name = "nx-variant-" + ++ids;
  const draw = (model) => list.replaceChildren(...all.map((each) => oneContext(each, model, top)));
  const choice = (value) =>
    el("label", el("input", { type: "radio", name, value, checked: value === view.variant }), TITLES[value]);
  const onchange = ({ target }) => {
    on.variant(target.value);
    draw(target.value);
  };
  const sample = (text, value) => tint(el("span.nx-tok", text), value, 1);
  draw(view.variant);
  return [
    el("fieldset.nx-choice", { onchange }, el("legend", "Activation in the model"), MODELS.map(choice)),
    el("p.nx-legend", sample("positive", 0.8), sample("negative", -0.8),
      el("span", `strongest tint: activation of size ${short(top)}, the same for the three models`)),
    list,
  ];
}

function tint(span, value, top) {
  const size = Math.min(1, Math.abs(value) / top);
  if (!(size > 0.04)) return span;
  span.classList.add(value > 0 ? "nx-pos" : "nx-neg");
  span.classList.toggle("nx-strong", size > 0.25);
  span.style.setProperty("--nx-size", (0.06 + 0.44 * size).toFixed(3)); // the text's contrast holds at the top
  return span;
}

function oneContext(context, variant, top) {
  const { peak, topic, source, start } = context, last = context.tokens.length - 1;
  const readout = el("p.nx-readout", { "aria-live": "polite" });
  const spans = context.tokens.map((token, i) => tint(
    el(i === peak ? "span.nx-tok.nx-peak" : "span.nx-tok", { onpointerenter: () => read(i) }, oneLine(token)),
    valuesOf(context, variant)[i], top));
  let at = peak;
  const read = (i) => {
    spans[at].classList.remove("nx-here");
    at = i;
    spans[at].classList.add("nx-here");
    const numbers = MODELS.map((model) => TITLES[model] + " " + signed(valuesOf(context, model)[i])).join(" · ");
    readout.replaceChildren(i === peak ? "peak " : "token ", tokenChip(context.tokens[i]), " " + numbers);
  };
  const onkeydown = (event) => {
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    read(clamp(next, 0, last));
  };
  read(peak);
  const writer = source in TITLES ? `answer of the ${TITLES[source]} model` : source;
  const text = el("p.nx-context", { tabindex: "0", role: "group", onkeydown, onpointerleave: () => read(peak),
    "aria-label": "Context; arrow keys read each token's activation" }, spans);
  return el("li", muted([topic, writer].filter(Boolean).join(", "), ", from token " + start), text, readout);
}

// Into the page where the model answers, if this is a page of the book and shows the model that is there.
function live(levels, index) {
  const top = document.documentElement.dataset.content_root;
  const href = `${top}try.html#try:set=own&kind=ablate&own=${levels.name(index)}`;
  const there = top !== undefined && levels.payload.run.model === "smollm2-135m-instruct";
  return there && el("p", el("a", { href }, "Ablate it live"));
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
      ["band", "nx-band", ...band], ["line", "nx-whisker", low, high], ["dot", "nx-effect", effect, "effect"],
    ]),
    ...[number(effect), `[${number(low)}, ${number(high)}]`, band.map(number).join(" to ")],
  ]);
  const caption = "Effect of setting the neuron to zero. Line: interval. Grey and last column: lowest to highest " +
    `effect of ${many(chance.n, "random neuron")}, of as large a scale as possible. Of ${any.n} drawn from all, over ` +
    `all topics: ${any.all.map(number).join(" to ")}.` + unit(levels, "effect");
  return table(caption, ["topic", "← left · right →", "effect", "interval", "random"], rows, { class: "nx-wide" });
}
