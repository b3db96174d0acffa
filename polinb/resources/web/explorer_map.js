// The map of all neurons: layers as rows and neurons as columns, or one layer with a square a neuron. Two canvases:
// the lower is drawn when what it shows changes, the upper carries cursor and selection only.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el } = X;

  class NeuronMap {
    // on: {open(neurons, byKey), layer(number)}; view: the explorer's state
    constructor(levels, on) {
      this.levels = levels;
      this.on = on;
      this.view = null;
      this.cursor = -1;
      this.base = el("canvas", { "aria-hidden": "true" });
      this.over = el("canvas", { class: "nx-over", tabindex: "0", role: "application", "aria-roledescription": "map" });
      this.tip = el("div", { class: "nx-tip", hidden: true, "aria-hidden": "true" });
      this.live = el("div", { class: "nx-sr", "aria-live": "polite" });
      this.element = el("div", { class: "nx-map" }, this.base, this.over, this.tip, this.live);
      this.listen();
    }

    listen() {
      const cellOf = (event) => this.cellAt(event.offsetX, event.offsetY);
      this.over.addEventListener("pointermove", (event) => this.hover(cellOf(event)));
      this.over.addEventListener("pointerleave", () => this.hover(-1));
      this.over.addEventListener("click", (event) => {
        const cell = cellOf(event);
        const row = this.view.layer < 0 ? this.rowAt(event.offsetX, event.offsetY) : -1;
        if (cell >= 0) this.open(cell, false);
        else if (row >= 0) this.on.layer(row);
      });
      this.over.addEventListener("keydown", (event) => this.key(event));
      this.over.addEventListener("blur", () => this.overlay());
      this.over.addEventListener("focus", () => {
        if (this.over.matches(":focus-visible")) this.say();
        this.overlay();
      });
      this.watch = new ResizeObserver(() => this.resize());
      this.watch.observe(this.element);
    }

    close() {
      this.watch.disconnect();
    }

    show(view) {
      this.view = { ...view };
      this.draw();
    }

    // only the selection changed
    select(index) {
      this.view.selected = index;
      this.overlay();
    }

    resize() {
      const now = this.element.clientWidth + "@" + (globalThis.devicePixelRatio || 1);
      if (this.view && now !== this.size) this.draw();
    }

    draw() {
      const room = this.element.clientWidth || 600;
      const grid = (this.grid = X.mapGrid(this.levels, this.view.layer >= 0, room));
      const scale = globalThis.devicePixelRatio || 1;
      this.size = this.element.clientWidth + "@" + scale;
      for (const canvas of [this.base, this.over]) {
        canvas.width = Math.round(grid.room * scale);
        canvas.height = Math.round(grid.height * scale);
        canvas.style.height = grid.height + "px";
      }
      const context = this.base.getContext("2d");
      const ink = X.inks(this.element);
      const one = this.view.layer >= 0;
      this.order = one ? this.levels.sorted(this.view.layer, this.view) : null;
      this.cells = one ? this.squares() : this.levels.cells(this.view, grid.per);
      this.first = Math.min(
        this.levels.highest,
        X.firstShade(one ? this.levels.of(this.view.topic) : this.cells.level),
      );
      const shade = X.shades(this.levels.payload.shares, ink, this.first, this.levels.highest);
      if (one) {
        X.drawSquares(context, grid, this.cells, scale, ink, shade);
      } else {
        X.drawCells(context, grid, this.cells, scale, ink, shade);
        this.rows = this.perLayer();
        X.drawRows(context, grid, this.rows, scale, ink);
        X.drawColumns(context, grid, this.levels.width, scale, ink);
      }
      this.over.setAttribute("aria-label", this.title());
      if (this.cursor >= grid.cells) this.cursor = -1;
      this.overlay();
    }

    title() {
      const { layer } = this.view;
      const move = "Arrow keys move, Enter opens.";
      if (layer >= 0) return "Neurons of layer " + layer + ". " + move;
      return (
        "Map of all neurons: " +
        this.levels.layers +
        " layers from the top down, neuron number from left to right. " +
        move
      );
    }

    squares() {
      const table = this.levels.marks(this.view.topic, this.view.type);
      const mask = this.levels.mask(this.view.gamma),
        shown = this.levels.of(this.view.topic);
      const out = { level: new Uint8Array(this.order.length) };
      out.general = new Uint8Array(this.order.length);
      out.specific = new Uint8Array(this.order.length);
      this.order.forEach((index, cell) => {
        out.level[cell] = shown[index];
        const mark = !this.view.cards || this.levels.carded[index] ? table[mask[index]] : 0;
        out.general[cell] = mark === X.GENERAL;
        out.specific[cell] = mark === X.SPECIFIC;
      });
      return out;
    }

    perLayer() {
      const { columns, rows } = this.grid;
      return Array.from({ length: rows }, (_, row) => {
        let general = 0,
          specific = 0;
        for (let cell = row * columns; cell < (row + 1) * columns; cell++) {
          general += this.cells.general[cell];
          specific += this.cells.specific[cell];
        }
        return { general, specific };
      });
    }

    // --- cells and neurons ---

    cellAt(x, y) {
      const grid = this.grid;
      const column = Math.floor((x - grid.x) / grid.cellWidth),
        row = Math.floor((y - grid.y) / grid.cellHeight);
      if (column < 0 || column >= grid.columns || row < 0 || row >= grid.rows) return -1;
      const cell = row * grid.columns + column;
      return cell < grid.cells ? cell : -1;
    }

    rowAt(x, y) {
      const row = Math.floor((y - this.grid.y) / this.grid.cellHeight);
      return row >= 0 && row < this.grid.rows ? row : -1;
    }

    // neurons of a cell
    neurons(cell) {
      if (this.order) return [this.order[cell]];
      const { columns, per } = this.grid,
        { width } = this.levels;
      const layer = Math.floor(cell / columns),
        from = (cell % columns) * per;
      return Array.from({ length: Math.min(per, width - from) }, (_, i) => layer * width + from + i);
    }

    // cell of a neuron, -1 if the layer shown is another
    cellOf(index) {
      if (index === null || index === undefined) return -1;
      const layer = this.levels.layerOf(index);
      if (this.order) return layer === this.view.layer ? this.order.indexOf(index) : -1;
      return layer * this.grid.columns + Math.floor(this.levels.neuronOf(index) / this.grid.per);
    }

    // the middle of a cell in CSS pixels of the canvas
    middle(cell) {
      const { x, y, cellWidth, cellHeight, columns } = this.grid;
      return [x + ((cell % columns) + 0.5) * cellWidth, y + (Math.floor(cell / columns) + 0.5) * cellHeight];
    }

    describe(cell) {
      const neurons = this.neurons(cell),
        { levels } = this;
      const first = neurons[0],
        last = neurons[neurons.length - 1];
      const shown = levels.of(this.view.topic);
      const top = neurons.reduce((a, b) => (shown[b] > shown[a] ? b : a), first);
      const topics = this.view.topic < 0 ? levels.topTopics(top) : [levels.topics[this.view.topic]];
      const where =
        "layer " +
        levels.layerOf(first) +
        ", neuron" +
        (first === last ? " " + levels.neuronOf(first) : "s " + levels.neuronOf(first) + "–" + levels.neuronOf(last));
      const best =
        (first === last ? "" : "strongest: " + levels.name(top) + ", ") +
        levels.share(shown[top]) +
        " for " +
        topics.join(", ");
      const { general, specific } = this.cells;
      const members =
        general[cell] + specific[cell] === 0
          ? "none marked"
          : first === last
            ? general[cell]
              ? "general (G)"
              : "topic-specific (S)"
            : [general[cell] && general[cell] + " G", specific[cell] && specific[cell] + " S"]
                .filter(Boolean)
                .join(", ");
      return [where, best, members];
    }

    // --- pointer, keys, overlay ---

    hover(cell) {
      this.over.style.cursor = cell >= 0 ? "pointer" : "default";
      if (cell === this.hovered) return;
      this.hovered = cell;
      this.tip.hidden = cell < 0;
      if (cell >= 0) {
        this.tip.replaceChildren(...this.describe(cell).map((line) => el("div", {}, line)));
        const [x, y] = this.middle(cell);
        const right = x > this.grid.room / 2,
          low = y > this.grid.height / 2;
        this.tip.style.cssText =
          (right ? "right:" + (this.grid.room - x + 10) : "left:" + (x + 10)) +
          "px;" +
          (low ? "bottom:" + (this.grid.height - y + 12) : "top:" + (y + 12)) +
          "px";
      }
      this.overlay();
    }

    open(cell, byKey) {
      this.cursor = cell;
      this.on.open(this.neurons(cell), byKey);
    }

    key(event) {
      const { columns, cells } = this.grid;
      const steps = {
        ArrowLeft: -1,
        ArrowRight: 1,
        ArrowUp: -columns,
        ArrowDown: columns,
        PageUp: -5 * columns,
        PageDown: 5 * columns,
      };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = this.cursor < 0 ? Math.max(0, this.cellOf(this.view.selected)) : this.cursor;
      const start = at - (at % columns);
      let next = at;
      if (event.key in steps) next = at + (this.cursor < 0 ? 0 : steps[event.key]);
      else if (event.key === "Home") next = start;
      else if (event.key === "End") next = Math.min(cells, start + columns) - 1;
      else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        return this.open(at, true);
      } else return;
      event.preventDefault();
      if (next >= 0 && next < cells) this.cursor = next;
      this.say();
      this.overlay();
    }

    say() {
      if (this.cursor < 0) this.cursor = Math.max(0, this.cellOf(this.view.selected));
      this.live.textContent = this.describe(this.cursor).join("; ");
    }

    overlay() {
      if (!this.grid) return;
      const scale = globalThis.devicePixelRatio || 1;
      const context = this.over.getContext("2d");
      const ink = X.inks(this.element);
      context.clearRect(0, 0, this.over.width, this.over.height);
      const box = (cell, out, line, colour) => {
        const { x, y, cellWidth, cellHeight, columns } = this.grid;
        const left = Math.round((x + (cell % columns) * cellWidth - out) * scale);
        const top = Math.round((y + Math.floor(cell / columns) * cellHeight - out) * scale);
        context.fillStyle = colour;
        X.frame(
          context,
          left,
          top,
          Math.round((cellWidth + 2 * out) * scale),
          Math.round((cellHeight + 2 * out) * scale),
          Math.round(line * scale),
        );
      };
      if (this.hovered >= 0 && this.hovered < this.grid.cells) box(this.hovered, 1, 1, ink.text);
      const chosen = this.cellOf(this.view.selected);
      if (chosen >= 0) {
        box(chosen, 4, 2, ink.ground);
        box(chosen, 3, 2, ink.mark);
      }
      if (this.cursor >= 0 && document.activeElement === this.over) {
        box(this.cursor, 3, 1, ink.ground);
        box(this.cursor, 2, 2, ink.text);
      }
    }
  }

  Object.assign(X, { NeuronMap });
})();
