// The neuron explorer: a map of all neurons, filters, and the card of the neuron chosen. Its parts are in the other
// explorer_*.js; this file holds the state. render(root, payload, blobs, options) draws into root; polinb/widgets.py
// wraps the same function for a live kernel. options: {link: false} leaves the page's address alone,
// {selected(index, layer, neuron)} is told of every choice. Returns {open(layer, neuron), close()}.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el } = X;
  const LISTED = 24; // neurons named when a cell of the map is opened

  class Explorer {
    constructor(root, payload, blobs, options) {
      this.options = { link: true, ...options };
      const levels = (this.levels = new X.Levels(payload, blobs.levels));
      this.state = (this.options.link && X.fromFragment(location.hash, levels)) || X.initial(levels);
      const restored = this.options.link && location.hash.startsWith("#explorer?");
      this.controls = new X.Controls(
        levels,
        { set: (c) => this.set(c), jump: (t) => this.jump(t), reset: () => this.reset(), copy: () => this.copy() },
        this.options,
      );
      this.counts = new X.Counts(levels);
      this.map = new X.NeuronMap(levels, {
        open: (neurons, byKey) => this.choose(neurons, byKey),
        layer: (layer) => this.set({ layer }),
      });
      this.list = new X.CardList(levels, { open: (index) => this.open(index, true) });
      this.title = el("p", { class: "nx-title" });
      this.back = el(
        "button",
        { type: "button", class: "nx-quiet", onclick: () => this.set({ layer: -1 }) },
        "← all layers",
      );
      this.key = el("div", {});
      this.cell = el("div", { class: "nx-cell", hidden: true });
      this.card = el("div", {});
      const note = payload.run && payload.run.note ? el("p", { class: "nx-note" }, payload.run.note) : null;
      this.root = el(
        "div",
        { class: "nx", "data-lm-suppress-shortcuts": "true" },
        note,
        el("div", { class: "nx-top" }, this.controls.element, this.counts.element),
        el("p", { class: "nx-line" }, this.title, this.back),
        this.map.element,
        this.key,
        this.cell,
        this.card,
        this.list.element,
      );
      root.replaceChildren(this.root);
      this.draw();
      this.opened(false);
      this.watch();
      if (restored) this.root.scrollIntoView();
    }

    watch() {
      const page = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "data-mode"] };
      this.theme = new MutationObserver(() => {
        this.map.draw();
      });
      this.theme.observe(document.documentElement, page);
      this.theme.observe(document.body, page);
      this.moved = () => this.restore();
      if (this.options.link) addEventListener("hashchange", this.moved);
    }

    close() {
      this.theme.disconnect();
      this.map.close();
      removeEventListener("hashchange", this.moved);
    }

    restore() {
      const state = X.fromFragment(location.hash, this.levels);
      if (!state) return;
      this.state = { ...state, variant: this.state.variant };
      this.draw();
      this.opened(false);
    }

    // --- state ---

    set(changes) {
      Object.assign(this.state, changes);
      this.state.topicName = this.levels.topics[this.state.topic] || "";
      if ("layer" in changes) this.map.cursor = -1;
      this.cell.hidden = true;
      this.draw();
      this.drawCard();
      this.remember();
    }

    reset() {
      const variant = this.state.variant;
      this.state = { ...X.initial(this.levels), variant };
      this.map.cursor = -1;
      this.draw();
      this.opened(true);
    }

    draw() {
      this.controls.show(this.state);
      this.controls.told.textContent = "";
      this.controls.link.hidden = true;
      this.counts.show(this.state);
      this.map.show(this.state);
      this.title.textContent = this.heading();
      this.back.hidden = this.state.layer < 0;
      this.key.replaceChildren(X.legend(this.map, this.levels, this.state));
      this.list.show(this.state);
    }

    heading() {
      const { layer, order } = this.state;
      const size = X.count(this.levels.width) + " neurons";
      const marked = (list) => X.count(list.reduce((sum, n) => sum + n, 0));
      if (layer >= 0) {
        return (
          "Layer " +
          layer +
          ": " +
          size +
          (order === "rank" ? ", strongest level first, equal levels by number" : ", by number") +
          ", left to right and down; " +
          marked(this.map.cells.general) +
          " marked as G, " +
          marked(this.map.cells.specific) +
          " as S."
        );
      }
      return (
        this.levels.layers +
        " layers × " +
        size +
        ". Layer 0, nearest the input, is at the top; at the right, neurons marked per layer."
      );
    }

    // --- choosing a neuron ---

    // neurons of a cell: the best is opened, the others are named
    choose(neurons, byKey) {
      const { levels, state } = this;
      const shown = levels.of(state.topic);
      const order = (i) => (levels.mark(state, i) ? 2 : 0) + levels.carded[i];
      const sorted = neurons.slice().sort((a, b) => order(b) - order(a) || shown[b] - shown[a] || a - b);
      this.open(sorted[0], byKey);
      if (neurons.length > 1) this.nameOthers(sorted);
    }

    nameOthers(sorted) {
      const { levels, state } = this;
      const first = Math.min(...sorted),
        last = Math.max(...sorted);
      const entry = (index) => {
        const mark = levels.mark(state, index);
        const key = el("span", {
          class: "nx-key nx-key-" + { 0: "none", 1: "G", 2: "S" }[mark],
          "aria-hidden": "true",
        });
        const told = [
          mark === X.GENERAL ? "general" : mark ? "specific" : "not marked",
          levels.carded[index] ? "has a card" : "",
        ]
          .filter(Boolean)
          .join(", ");
        return el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              class: levels.carded[index] ? "nx-has" : "",
              "data-index": index,
              onclick: () => this.open(index, false),
              "aria-label": "Open neuron " + levels.name(index) + ", " + told,
            },
            key,
            levels.name(index),
          ),
        );
      };
      const rest = sorted.length - LISTED;
      this.cell.replaceChildren(
        el(
          "span",
          { class: "nx-muted" },
          "In this cell (layer " +
            levels.layerOf(first) +
            ", neurons " +
            levels.neuronOf(first) +
            "–" +
            levels.neuronOf(last) +
            "), marked and strongest first, bold: with a card",
        ),
        el("ul", {}, sorted.slice(0, LISTED).map(entry)),
        rest > 0
          ? el("span", { class: "nx-muted" }, "and " + X.count(rest) + " more; choose the layer to see each")
          : "",
      );
      this.cell.hidden = false;
      this.markOthers();
    }

    markOthers() {
      for (const node of this.cell.querySelectorAll("button"))
        node.toggleAttribute("data-chosen", Number(node.dataset.index) === this.state.selected);
    }

    open(index, focus) {
      if (focus && document.activeElement !== document.body) this.from = document.activeElement;
      this.state.selected = index;
      if (!this.cell.querySelector('[data-index="' + index + '"]')) this.cell.hidden = true;
      if (this.state.layer >= 0 && this.levels.layerOf(index) !== this.state.layer) {
        this.state.layer = this.levels.layerOf(index);
        this.draw();
      }
      this.opened(true);
      if (focus) this.card.querySelector("h3").focus();
    }

    // after the selection changed
    opened(told) {
      const { selected } = this.state;
      if (selected === null) this.cell.hidden = true;
      this.markOthers();
      this.map.select(selected);
      this.list.mark(selected);
      this.drawCard();
      if (!told) return;
      this.remember();
      if (this.options.selected)
        this.options.selected(
          selected,
          selected === null ? -1 : this.levels.layerOf(selected),
          selected === null ? -1 : this.levels.neuronOf(selected),
        );
    }

    drawCard() {
      const on = {
        variant: (variant) => {
          this.state.variant = variant;
        },
        close: () => this.leave(),
      };
      if (this.state.selected !== null)
        return this.card.replaceChildren(X.cardOf(this.levels, this.state.selected, this.state, on));
      this.card.replaceChildren(
        el(
          "p",
          { class: "nx-muted" },
          "Choose a neuron on the map, in the list below, or by its number to see its card.",
        ),
      );
    }

    leave() {
      this.state.selected = null;
      this.opened(true);
      if (this.from && this.from.isConnected) this.from.focus();
    }

    jump(text) {
      const found = X.parseNeuron(text, this.levels);
      if (typeof found === "string") return found;
      this.open(found, true);
      return "";
    }

    // --- link ---

    remember() {
      if (!this.options.link) return;
      clearTimeout(this.timer); // browsers refuse many changes of the address in a row
      this.timer = setTimeout(() => {
        try {
          history.replaceState(history.state, "", X.toFragment(this.state, this.levels));
        } catch {
          /* some local viewers forbid it: the link button still works */
        }
      }, 150);
    }

    async copy() {
      const link = location.href.split("#")[0] + X.toFragment(this.state, this.levels);
      try {
        await navigator.clipboard.writeText(link);
        this.controls.told.textContent = "Link copied.";
      } catch {
        this.controls.offer(link);
        this.controls.told.textContent = "Copy this link:";
      }
    }
  }

  function render(root, payload, blobs, options) {
    const explorer = new Explorer(root, payload, blobs, options);
    return {
      open(layer, neuron) {
        const index = X.parseNeuron(layer + "." + neuron, explorer.levels);
        if (typeof index === "number" && index !== explorer.state.selected) explorer.open(index, false);
      },
      close: () => explorer.close(),
    };
  }

  X.render = render;
  if (globalThis.polinb && globalThis.polinb.register) globalThis.polinb.register("explorer", render);
})();
