// The explorer's state as a link's fragment, "#explorer?topic=race&gamma=5&neuron=12.345", and back. Whatever in a
// fragment does not fit this page's data is ignored.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const START = "#explorer?";

  const initial = (levels) => ({
    topic: -1,
    topicName: "",
    type: "all",
    gamma: levels.payload.gammas.indexOf(levels.payload.gamma),
    layer: -1,
    cards: false,
    order: "index",
    selected: null,
    variant: "vanilla",
  });

  // "12.345" → index, or a sentence that says what is wrong
  function parseNeuron(text, levels) {
    const found = /^\s*(\d{1,9})\s*[.:,/ ]\s*(\d{1,9})\s*$/.exec(String(text));
    if (!found)
      return (
        "Write a layer and a neuron number with a point between them, such as 0.0 or " +
        levels.name(levels.total - 1) +
        "."
      );
    const layer = Number(found[1]),
      neuron = Number(found[2]);
    if (layer >= levels.layers)
      return "There is no layer " + layer + ": the layers are 0 to " + (levels.layers - 1) + ".";
    if (neuron >= levels.width)
      return "There is no neuron " + neuron + ": in each layer they are 0 to " + (levels.width - 1) + ".";
    return levels.index(layer, neuron);
  }

  function toFragment(state, levels) {
    const first = initial(levels),
      out = new URLSearchParams();
    if (state.topic >= 0) out.set("topic", levels.topics[state.topic]);
    if (state.type !== first.type) out.set("type", state.type);
    if (state.gamma !== first.gamma) out.set("gamma", String(levels.payload.gammas[state.gamma]));
    if (state.layer >= 0) out.set("layer", String(state.layer));
    if (state.cards) out.set("cards", "1");
    if (state.order !== first.order) out.set("order", state.order);
    if (state.selected !== null) out.set("neuron", levels.name(state.selected));
    return START + out;
  }

  // The state that a fragment asks for, or null if it is not one of ours.
  function fromFragment(fragment, levels) {
    if (!fragment.startsWith(START)) return null;
    const asked = new URLSearchParams(fragment.slice(START.length));
    const state = initial(levels);
    const topic = levels.topics.indexOf(asked.get("topic"));
    const gamma = levels.payload.gammas.findIndex((g) => String(g) === asked.get("gamma"));
    const layer = /^\d{1,6}$/.test(asked.get("layer") || "") ? Number(asked.get("layer")) : -1;
    const neuron = asked.has("neuron") ? parseNeuron(asked.get("neuron"), levels) : "";
    if (topic >= 0) state.topic = topic;
    if (Object.hasOwn(X.TYPES, asked.get("type") || "")) state.type = asked.get("type");
    if (gamma >= 0) state.gamma = gamma;
    if (layer >= 0 && layer < levels.layers) state.layer = layer;
    state.cards = asked.get("cards") === "1";
    if (asked.get("order") === "rank") state.order = "rank";
    if (typeof neuron === "number") state.selected = neuron;
    state.topicName = levels.topics[state.topic] || "";
    return state;
  }

  Object.assign(X, { initial, parseNeuron, toFragment, fromFragment });
})();
