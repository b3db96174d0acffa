// The neuron explorer's numbers: the level of every neuron and topic, the sets at each gamma, the cells of a map, and
// the state in the address. Levels come as one byte a neuron and topic (browse/explorer_levels.py); a neuron is in N_t
// at a gamma when its level reaches that gamma's cut. Nothing here draws.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { short, address } = polinb.dom;
  const TYPES = { all: "all types", G: "general (G)", S: "topic-specific (S)", strict: "strictly specific" };
  const MODELS = ["vanilla", "left", "right"];
  const MOST_TOPICS = 16; // a table over all combinations of topics stays small
  const OTHER = 0, GENERAL = 1, SPECIFIC = 2; // what the map marks

  function need(condition, message) {
    if (!condition) throw new Error("neuron explorer: " + message);
  }

  function check(p, bytes) {
    need(p.version === 1, "the data has version " + p.version + ", this page reads version 1");
    need(p.topics.length <= MOST_TOPICS, "at most " + MOST_TOPICS + " topics");
    const expected = p.topics.length * p.layers * p.width;
    need(bytes.length === expected, "levels hold " + bytes.length + " bytes, " + expected + " expected");
  }

  function bits(mask) {
    let n = 0;
    for (let rest = mask; rest; rest &= rest - 1) n++;
    return n;
  }

  class Levels {
    constructor(payload, bytes) {
      check(payload, bytes);
      const { layers, width, topics } = payload;
      Object.assign(this, { payload, bytes, layers, width, topics, total: layers * width, full: (1 << topics.length) - 1 });
      this.best = this.strongest();
      this.highest = this.best.reduce((a, b) => Math.max(a, b));
      this.masks = new Map();
      this.tallies = new Map();
      this.cards = new Map(payload.cards.map((card) => [this.index(card.layer, card.neuron), card]));
      this.carded = new Uint8Array(this.total);
      for (const index of this.cards.keys()) this.carded[index] = 1;
      this.own = payload.gammas.indexOf(payload.gamma);
      need(!this.disagreement(this.own), this.disagreement(this.own));
    }

    index(layer, neuron) { return layer * this.width + neuron; }
    layerOf(index) { return Math.floor(index / this.width); }
    neuronOf(index) { return index % this.width; }
    name(index) { return this.layerOf(index) + "." + this.neuronOf(index); }
    gamma(g) { return short(this.payload.gammas[g]) + " %"; }

    // highest level over the topics, a byte a neuron
    strongest() {
      const { total, topics, bytes } = this;
      const best = bytes.slice(0, total);
      for (let t = 1; t < topics.length; t++) {
        const from = t * total;
        for (let i = 0; i < total; i++) if (bytes[from + i] > best[i]) best[i] = bytes[from + i];
      }
      return best;
    }

    // levels of one topic, or the highest over all topics for topic -1
    of(topic) { return topic < 0 ? this.best : this.bytes.subarray(topic * this.total, (topic + 1) * this.total); }
    at(topic, index) { return this.bytes[topic * this.total + index]; }

    // bit t of a neuron's mask: it is in N_t at gamma number g
    mask(g) {
      if (this.masks.has(g)) return this.masks.get(g);
      const { total, topics, bytes } = this;
      const cut = this.payload.cuts[g];
      const mask = topics.length > 8 ? new Uint16Array(total) : new Uint8Array(total);
      for (let t = 0; t < topics.length; t++) {
        const from = t * total, bit = 1 << t;
        for (let i = 0; i < total; i++) if (bytes[from + i] >= cut) mask[i] |= bit;
      }
      this.masks.set(g, mask);
      return mask;
    }

    // numbers of neurons at gamma number g: {G, any, alone, N: [..], S: [..], strict: [..]}; any: S of any topic
    tally(g) {
      if (this.tallies.has(g)) return this.tallies.get(g);
      const histogram = new Uint32Array(this.full + 1);
      const mask = this.mask(g);
      for (let i = 0; i < mask.length; i++) histogram[mask[i]]++;
      const zeros = () => this.topics.map(() => 0);
      const out = { G: histogram[this.full], any: 0, alone: 0, N: zeros(), S: zeros(), strict: zeros() };
      for (let m = 1; m <= this.full; m++) {
        const n = histogram[m], shared = m !== this.full, alone = bits(m) === 1;
        if (shared) out.any += n;
        if (alone) out.alone += n;
        this.topics.forEach((_, t) => {
          if (!((m >> t) & 1)) return;
          out.N[t] += n;
          if (shared) out.S[t] += n;
          if (alone) out.strict[t] += n;
        });
      }
      this.tallies.set(g, out);
      return out;
    }

    // Sentence if the page's own count differs from the one that Python wrote, else "".
    disagreement(g) {
      const told = this.payload.counts[g], found = this.tally(g);
      const same = (kind) => this.topics.every((topic, t) => told[kind][topic] === found[kind][t]);
      if (told.G === found.G && same("S") && same("strict")) return "";
      return "the sets counted from the levels differ from the run's own counts at gamma " + this.payload.gammas[g] + " %";
    }

    // For every mask: what the map marks under a topic (-1: all) and a type.
    marks(topic, type) {
      const table = new Uint8Array(this.full + 1);
      for (let m = 1; m < this.full; m++) {
        const inside = topic < 0 || (m >> topic) & 1;
        if (inside && type !== "G" && (type !== "strict" || bits(m) === 1)) table[m] = SPECIFIC;
      }
      if (type === "all" || type === "G") table[this.full] = GENERAL;
      return table;
    }

    mark(view, index) {
      if (view.cards && !this.carded[index]) return OTHER;
      return this.marks(view.topic, view.type)[this.mask(view.gamma)[index]];
    }

    // "G", "S" or "" at gamma number g
    kind(index, g) {
      const mask = this.mask(g)[index];
      return mask === this.full ? "G" : mask ? "S" : "";
    }

    topicsOf(index, g) {
      const mask = this.mask(g)[index];
      return this.topics.filter((_, t) => (mask >> t) & 1);
    }

    // Maps of layers × columns of `per` neurons: highest level and numbers of marked neurons.
    cells(view, per) {
      const { layers, width } = this;
      const columns = Math.ceil(width / per), size = layers * columns;
      const shown = this.of(view.topic), mask = this.mask(view.gamma), table = this.marks(view.topic, view.type);
      const only = view.cards ? this.carded : null;
      const out = { level: new Uint8Array(size), general: new Uint32Array(size), specific: new Uint32Array(size) };
      for (let layer = 0, i = 0, cell = 0; layer < layers; layer++) {
        for (let column = 0; column < columns; column++, cell++) {
          const end = layer * width + Math.min(width, (column + 1) * per);
          let highest = 0, general = 0, specific = 0;
          for (; i < end; i++) {
            if (shown[i] > highest) highest = shown[i];
            const mark = table[mask[i]];
            if (mark && (!only || only[i])) mark === GENERAL ? general++ : specific++;
          }
          out.level[cell] = highest;
          out.general[cell] = general;
          out.specific[cell] = specific;
        }
      }
      return out;
    }

    // Neurons of one layer, by index or by falling level (equal levels by index).
    sorted(layer, view) {
      const order = Uint32Array.from({ length: this.width }, (_, i) => layer * this.width + i);
      if (view.order !== "rank") return order;
      const shown = this.of(view.topic);
      return order.sort((a, b) => shown[b] - shown[a] || a - b);
    }

    // The topics in which a neuron reaches its highest level: several where levels tie, for they are no exact order.
    topTopics(index) {
      const levels = this.topics.map((_, t) => this.at(t, index));
      return this.topics.filter((_, t) => levels[t] === Math.max(...levels));
    }

    // "top 0.5–0.55 %": the share of the pool between whose bounds a level lies
    share(level) {
      const [high, low] = [this.payload.shares[level], this.payload.shares[level + 1]];
      return "top " + (low === undefined ? short(high) : short(low) + "–" + short(high)) + " %";
    }

    // What is known of a neuron, for a file.
    data(index) {
      const { run, gamma, pool, units } = this.payload;
      const places = Object.fromEntries(this.topics.map((topic, t) => [topic, this.share(this.at(t, index))]));
      const card = this.cards.get(index) || { layer: this.layerOf(index), neuron: this.neuronOf(index) };
      return { run, gamma, pool, units, topics: this.topics, set: this.kind(index, this.own), places, ...card };
    }
  }

  // "12.345" → index, or a sentence that says what is wrong
  function parseNeuron(text, levels) {
    const found = /^\s*(\d{1,9})\s*[.:,/ ]\s*(\d{1,9})\s*$/.exec(String(text));
    const last = levels.name(levels.total - 1);
    if (!found) return "Write a layer and a neuron number with a point between them, such as 0.0 or " + last + ".";
    const [layer, neuron] = [Number(found[1]), Number(found[2])];
    if (layer >= levels.layers) return `There is no layer ${layer}: the layers are 0 to ${levels.layers - 1}.`;
    if (neuron >= levels.width) return `There is no neuron ${neuron}: in each layer they are 0 to ${levels.width - 1}.`;
    return levels.index(layer, neuron);
  }

  // neuron and beside: numbers of the opened one and of the one kept beside it, or null; sort: a column of the list,
  // "-" before it for falling
  const initial = (levels) => ({
    ...{ topic: -1, type: "all", gamma: levels.own, layer: -1, cards: false, order: "index" },
    ...{ neuron: null, beside: null, variant: "vanilla", sort: "", find: "" },
  });

  // The state in a link: "#explorer?topic=race&gamma=5&neuron=12.345".
  function stateLink(levels) {
    const { gammas } = levels.payload;
    const among = (list) => [String, (text) => (list.includes(text) ? text : undefined)];
    const place = (at) => (at < 0 ? undefined : at);
    const neuron = [
      (index) => (index === null ? "" : levels.name(index)),
      (text) => [parseNeuron(text, levels)].find(Number.isInteger),
    ];
    return address("#explorer?", () => initial(levels), {
      topic: [(t) => levels.topics[t], (text) => place(levels.topics.indexOf(text))],
      type: among(Object.keys(TYPES)),
      gamma: [(g) => String(gammas[g]), (text) => place(gammas.findIndex((g) => String(g) === text))],
      layer: [String, (text) => (/^\d{1,6}$/.test(text) && Number(text) < levels.layers ? Number(text) : undefined)],
      cards: [() => "1", (text) => text === "1" || undefined],
      order: among(["rank"]),
      neuron,
      beside: neuron,
      variant: among(MODELS),
      sort: among(X.COLUMNS.flatMap((name) => [name, "-" + name])),
      find: [String, (text) => text.slice(0, 200)],
    });
  }

  Object.assign(X, { Levels, TYPES, MODELS, GENERAL, SPECIFIC, initial, parseNeuron, stateLink });
})();
