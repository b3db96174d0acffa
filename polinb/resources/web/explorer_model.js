// The neuron explorer's numbers: levels of every neuron and topic, sets at each gamma, cells of a map, and the state in
// the address. Levels come as one byte a neuron and topic (browse/explorer_levels.py); a neuron is in N_t at a gamma
// when its level reaches that gamma's cut. First of the explorer's scripts, which know each other's names.

const { el, button, select, field, table, save, copy, address } = polinb.dom;
const { oneLine, finite, short, signed, fixed, column, count, many } = polinb.dom;
const TYPES = { all: "all types", G: "general (G)", S: "topic-specific (S)", strict: "strictly specific" };
const MODELS = ["vanilla", "left", "right"];
const COLUMNS = ["neuron", "set", "score", "rank", "norm", "effect", "tokens"]; // of the list of cards
const MOST_TOPICS = 16; // a table over all combinations of topics stays small
const OTHER = 0, GENERAL = 1, SPECIFIC = 2; // what the map marks

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const alone = (mask) => mask > 0 && (mask & (mask - 1)) === 0; // of one topic only
const largest = (numbers) => numbers.reduce((a, b) => Math.max(a, b), 0);
const need = (condition, message) => { if (!condition) throw new Error("neuron explorer: " + message); };

class Levels {
  constructor(payload, bytes) {
    const { version, layers, width, topics } = payload, total = layers * width, expected = topics.length * total;
    need(version === 1, `the data has version ${version}, this page reads version 1`);
    need(topics.length <= MOST_TOPICS, `at most ${MOST_TOPICS} topics`);
    need(bytes.length === expected, `levels hold ${bytes.length} bytes, ${expected} expected`);
    Object.assign(this, { payload, bytes, layers, width, topics, total, full: (1 << topics.length) - 1 });
    this.best = bytes.slice(0, total); // a neuron's highest level over the topics
    for (let i = total; i < expected; i++) this.best[i % total] = Math.max(this.best[i % total], bytes[i]);
    this.highest = largest(this.best);
    this.masks = new Map();
    this.cards = new Map(payload.cards.map((card) => [this.index(card.layer, card.neuron), card]));
    this.own = payload.gammas.indexOf(payload.gamma);
    const wrong = this.disagreement(this.own);
    need(!wrong, wrong);
  }

  index(layer, neuron) { return layer * this.width + neuron; }
  layerOf(index) { return Math.floor(index / this.width); }
  neuronOf(index) { return index % this.width; }
  name(index) { return this.layerOf(index) + "." + this.neuronOf(index); }
  gamma(g) { return short(this.payload.gammas[g]) + " %"; }

  // levels of one topic, or the highest over all topics for topic -1
  of(topic) { return topic < 0 ? this.best : this.bytes.subarray(topic * this.total, (topic + 1) * this.total); }

  // bit t of a neuron's mask: it is in N_t at gamma number g
  mask(g) {
    if (!this.masks.has(g)) {
      const mask = new Uint16Array(this.total), cut = this.payload.cuts[g];
      for (const t of this.topics.keys()) this.of(t).forEach((level, i) => { if (level >= cut) mask[i] |= 1 << t; });
      this.masks.set(g, mask);
    }
    return this.masks.get(g);
  }

  // numbers of neurons at gamma number g: {G, any, alone, N: [..], S: [..], strict: [..]}; any: S of any topic
  tally(g) {
    const histogram = new Uint32Array(this.full + 1);
    this.mask(g).forEach((mask) => histogram[mask]++);
    const all = (kept) => sum(histogram.map((n, mask) => (kept(mask) ? n : 0)));
    const each = (kept) => this.topics.map((_, t) => all((mask) => (mask >> t) & 1 && kept(mask)));
    const shared = (mask) => mask > 0 && mask !== this.full;
    const sets = { N: each(() => true), S: each(shared), strict: each(alone) };
    return { G: histogram[this.full], any: all(shared), alone: all(alone), ...sets };
  }

  // Sentence if the page's own count differs from the one that Python wrote, else "".
  disagreement(g, found = this.tally(g)) {
    const told = this.payload.counts[g];
    const same = (kind) => this.topics.every((topic, t) => told[kind][topic] === found[kind][t]);
    if (told.G === found.G && same("S") && same("strict")) return "";
    return `the sets counted from the levels differ from the run's own counts at gamma ${this.payload.gammas[g]} %`;
  }

  // What the map marks under a view's filters, as a function of a neuron's index.
  marker({ topic, type, gamma, cards }) {
    const mask = this.mask(gamma), marks = new Uint8Array(this.full + 1);
    for (let m = 1; m < this.full; m++) {
      const inside = topic < 0 || (m >> topic) & 1;
      if (inside && type !== "G" && (type !== "strict" || alone(m))) marks[m] = SPECIFIC;
    }
    if (type === "all" || type === "G") marks[this.full] = GENERAL;
    return (index) => (cards && !this.cards.has(index) ? OTHER : marks[mask[index]]);
  }

  // "G", "S" or "" at gamma number g
  kind(index, g) {
    const mask = this.mask(g)[index];
    return mask === this.full ? "G" : mask ? "S" : "";
  }

  topicsOf(index, g) { return this.topics.filter((_, t) => (this.mask(g)[index] >> t) & 1); }

  // Cells of `per` neurons, of all layers or of those in `order`: highest level and numbers of marked neurons.
  cells(view, per, order) {
    const { width } = this, columns = Math.ceil(width / per), size = columns * (order ? 1 : this.layers);
    const shown = this.of(view.topic), mark = this.marker(view), length = order ? width : this.total;
    const [level, general, specific] = [Uint8Array, Uint32Array, Uint32Array].map((kind) => new kind(size));
    for (let at = 0; at < length; at++) {
      const index = order ? order[at] : at, cell = Math.floor(at / width) * columns + Math.floor((at % width) / per);
      if (shown[index] > level[cell]) level[cell] = shown[index];
      const found = mark(index);
      if (found === GENERAL) general[cell]++;
      if (found === SPECIFIC) specific[cell]++;
    }
    return { level, general, specific };
  }

  // Neurons of one layer, by index or by falling level (equal levels by index).
  sorted({ topic, layer, order }) {
    const found = Uint32Array.from({ length: this.width }, (_, i) => this.index(layer, i)), shown = this.of(topic);
    return order === "rank" ? found.sort((a, b) => shown[b] - shown[a] || a - b) : found;
  }

  // The topics in which a neuron reaches its highest level: several where levels tie, for they are no exact order.
  topTopics(index) { return this.topics.filter((_, t) => this.of(t)[index] === this.best[index]); }

  // "top 0.5–0.55 %": the share of the pool between whose bounds a level lies
  share(level) {
    const [high, low] = this.payload.shares.slice(level, level + 2);
    return "top " + (low === undefined ? short(high) : short(low) + "–" + short(high)) + " %";
  }

  // What is known of a neuron, for a file.
  data(index) {
    const { run, gamma, pool, units } = this.payload;
    const places = Object.fromEntries(this.topics.map((topic, t) => [topic, this.share(this.of(t)[index])]));
    const card = this.cards.get(index) || { layer: this.layerOf(index), neuron: this.neuronOf(index) };
    return { run, gamma, pool, units, topics: this.topics, set: this.kind(index, this.own), places, ...card };
  }

  // "12.345" → index, or a sentence that says what is wrong
  parse(text) {
    const found = /^\s*(\d{1,9})\s*[.:,/ ]\s*(\d{1,9})\s*$/.exec(String(text)), last = this.name(this.total - 1);
    if (!found) return "Write a layer and a neuron number with a point between them, such as 0.0 or " + last + ".";
    const [layer, neuron] = [Number(found[1]), Number(found[2])];
    if (layer >= this.layers) return `There is no layer ${layer}: the layers are 0 to ${this.layers - 1}.`;
    if (neuron >= this.width) return `There is no neuron ${neuron}: in each layer they are 0 to ${this.width - 1}.`;
    return this.index(layer, neuron);
  }
}

// neuron and beside: indices of the opened one and of the one kept beside it, or null; sort: a column of the list, "-"
// before it for falling
const initial = (levels) => ({
  ...{ topic: -1, type: "all", gamma: levels.own, layer: -1, cards: false, order: "index" },
  ...{ neuron: null, beside: null, variant: "vanilla", sort: "", find: "" },
});

// The state in a link: "#explorer?topic=race&gamma=5&neuron=12.345".
function stateLink(levels) {
  const gammas = levels.payload.gammas.map(String), layers = Array.from({ length: levels.layers }, (_, layer) => layer);
  const among = (list) => [(text) => list.find((each) => String(each) === text)];
  const place = (list) => [(text) => (list.includes(text) ? list.indexOf(text) : undefined), (at) => list[at]];
  const name = (index) => (index === null ? "" : levels.name(index));
  const neuron = [(text) => [levels.parse(text)].find(Number.isInteger), name];
  return address("#explorer?", initial(levels), {
    ...{ topic: place(levels.topics), type: among(Object.keys(TYPES)), gamma: place(gammas), layer: among(layers) },
    ...{ cards: [(text) => text === "1" || undefined, () => "1"], order: among(["rank"]) },
    ...{ neuron, beside: neuron, variant: among(MODELS) },
    ...{ sort: among(COLUMNS.flatMap((name) => [name, "-" + name])), find: [(text) => text.slice(0, 200)] },
  });
}
