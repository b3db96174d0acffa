// The map of all neurons: layers as rows and neurons as columns, or one layer with a square a neuron. Two canvases: the
// lower is drawn when what it shows changes, the upper carries cursor and selection only. Positions are in device pixels,
// rounded, so that edges are sharp on every screen.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, count } = polinb.dom;
  const CELL = 5; // narrowest cell of the overview in CSS pixels: it can still be hit
  const TALLEST = 480;
  const NARROW = 480;
  const FONT = "px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";
  const density = () => globalThis.devicePixelRatio || 1;

  // --- where things lie on a map of `room` CSS pixels

  // one layer, a square a neuron
  function squareGrid({ width }, room) {
    const tall = room < NARROW ? 420 : TALLEST;
    const side = Math.max(3, Math.min(14, Math.floor(Math.sqrt((room * tall) / width))));
    const columns = Math.max(1, Math.min(width, Math.floor((room - 10) / side)));
    const rows = Math.ceil(width / columns);
    const size = { cellWidth: side, cellHeight: side, height: rows * side + 10, room };
    return { x: 5, y: 5, columns, rows, cells: width, per: 1, ...size }; // a margin for the selection's frame
  }

  // all layers, several neurons a cell
  function rowGrid({ layers, width }, room) {
    const strip = room < NARROW ? { width: 52, label: 0 } : { width: 120, label: 40 };
    const x = 34;
    const plot = Math.max(CELL, room - x - strip.width - 10);
    const per = Math.ceil(width / Math.floor(plot / CELL));
    const columns = Math.ceil(width / per);
    const cellWidth = Math.min(plot / columns, 24);
    const cellHeight = Math.max(5, Math.min(22, Math.floor(TALLEST / layers)));
    strip.x = x + columns * cellWidth + 10;
    const size = { cellWidth, cellHeight, strip, height: layers * cellHeight + 26, room };
    return { x, y: 4, columns, rows: layers, cells: columns * layers, per, ...size };
  }

  // --- colours

  // Those of the page's theme, read anew at every drawing.
  function inks(element) {
    const style = getComputedStyle(element);
    const ink = (name) => style.getPropertyValue("--px-" + name).trim();
    const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
    return {
      ...{ low: hex(ink("level-low")), high: hex(ink("level-high")), general: ink("left"), specific: ink("right") },
      ...{ text: style.color, muted: ink("soft"), ground: ink("ground"), mark: ink("mark") },
    };
  }

  // Colour of each level: equal steps of grey for equal steps of the share's logarithm, from level `first` to `last`.
  function shades(shares, ink, first, last) {
    const log = shares.map((s) => Math.log10(s));
    const span = log[first] - log[last] || 1;
    return log.map((value) => {
      const at = Math.min(1, Math.max(0, (log[first] - value) / span));
      return "rgb(" + ink.low.map((low, i) => Math.round(low + at * (ink.high[i] - low))).join(",") + ")";
    });
  }

  // Lowest level that gets a colour of its own: below it lie one in twenty cells.
  function firstShade(levels) {
    const histogram = new Uint32Array(257);
    for (const level of levels) histogram[level]++;
    let seen = 0, level = 0;
    while (level < 255 && (seen += histogram[level]) <= levels.length / 20) level++;
    return level;
  }

  // --- drawing

  // Edges of n equal steps from a length's start, in whole device pixels.
  const edges = (start, step, n, scale) =>
    Int32Array.from({ length: n + 1 }, (_, i) => Math.round((start + i * step) * scale));

  // A frame of four filled edges: sharper than a stroked path, and as fast.
  function frame(context, x, y, width, height, line) {
    if (width <= 2 * line) return context.fillRect(x, y, Math.max(1, Math.min(width, line)), height);
    context.fillRect(x, y, width, line);
    context.fillRect(x, y + height - line, width, line);
    context.fillRect(x, y, line, height);
    context.fillRect(x + width - line, y, line, height);
  }

  // The lanes of a row: level above, ticks of the sets below, a gap between rows.
  function lanes(height, scale) {
    const gap = Math.max(1, Math.round(height * 0.1));
    const ticks = Math.max(Math.round(2 * scale), Math.round((height - gap) * 0.48));
    return { level: height - gap - ticks, ticks };
  }

  // A grey for the level, and below it ticks for the sets, G filled and S hollow.
  function drawCells(context, grid, cells, scale, ink, shade) {
    const xs = edges(grid.x, grid.cellWidth, grid.columns, scale);
    const ys = edges(grid.y, grid.cellHeight, grid.rows, scale);
    let most = 1;
    for (let i = 0; i < grid.cells; i++) most = Math.max(most, cells.general[i], cells.specific[i]);
    const filled = [], hollow = [];
    const gap = Math.round(scale);
    const height = (n, room) => Math.min(room, Math.max(Math.round(3 * scale), Math.round(room * Math.sqrt(n / most))));
    for (let cell = 0; cell < grid.cells; cell++) {
      const column = cell % grid.columns, row = (cell - column) / grid.columns;
      const x = xs[column], width = xs[column + 1] - x, y = ys[row];
      const lane = lanes(ys[row + 1] - y, scale);
      context.fillStyle = shade[cells.level[cell]];
      context.fillRect(x, y, width, lane.level);
      const general = cells.general[cell], specific = cells.specific[cell];
      const floor = y + lane.level + lane.ticks, half = general && specific ? width >> 1 : 0;
      if (general) {
        const tall = height(general, lane.ticks);
        filled.push([x, floor - tall, Math.max(1, (half || width) - (width > 3 * scale ? gap : 0)), tall]);
      }
      if (specific) {
        const tall = height(specific, lane.ticks);
        hollow.push([x + half, floor - tall, Math.max(1, width - half - gap), tall]);
      }
    }
    paintTicks(context, filled, hollow, scale, ink);
  }

  function paintTicks(context, filled, hollow, scale, ink) {
    context.fillStyle = ink.general;
    for (const box of filled) context.fillRect(...box);
    context.fillStyle = ink.specific;
    for (const box of hollow) frame(context, ...box, Math.max(1, Math.round(scale)));
  }

  // One layer, a square a neuron: G a filled square of its colour, S a frame, both over the level's grey.
  function drawSquares(context, grid, cells, scale, ink, shade) {
    const xs = edges(grid.x, grid.cellWidth, grid.columns, scale);
    const ys = edges(grid.y, grid.cellHeight, grid.rows, scale);
    const gap = grid.cellWidth >= 6 ? Math.round(scale) : 0;
    const line = Math.max(1, Math.round(scale * (grid.cellWidth >= 8 ? 1.5 : 1)));
    for (let cell = 0; cell < grid.cells; cell++) {
      const column = cell % grid.columns, row = (cell - column) / grid.columns;
      const x = xs[column], y = ys[row], width = xs[column + 1] - x - gap, height = ys[row + 1] - y - gap;
      context.fillStyle = shade[cells.level[cell]];
      context.fillRect(x, y, width, height);
      if (cells.general[cell]) {
        const inset = grid.cellWidth >= 6 ? Math.round(width / 5) : 0;
        context.fillStyle = ink.ground;
        if (inset) frame(context, x + inset - 1, y + inset - 1, width - 2 * inset + 2, height - 2 * inset + 2, 1);
        context.fillStyle = ink.general;
        context.fillRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
      } else if (cells.specific[cell]) {
        context.fillStyle = ink.specific;
        frame(context, x, y, width, height, line);
      }
    }
  }

  // Layer numbers at the left, and at the right a bar for each layer: G filled, then S hollow.
  function drawRows(context, grid, cells, scale, ink) {
    const size = Math.round(Math.min(11, Math.max(9, grid.cellHeight - 2)) * scale);
    const every = Math.max(1, Math.ceil(11 / grid.cellHeight));
    const step = [1, 2, 5, 10, 20, 50].find((n) => n >= every) || 100;
    const sum = (list, row) => list.slice(row * grid.columns, (row + 1) * grid.columns).reduce((a, b) => a + b, 0);
    const sums = Array.from({ length: grid.rows }, (_, row) => [sum(cells.general, row), sum(cells.specific, row)]);
    const most = Math.max(1, ...sums.map(([general, specific]) => general + specific));
    const room = (grid.strip.width - grid.strip.label) * scale, left = Math.round(grid.strip.x * scale);
    const filled = [], hollow = [];
    context.font = size + FONT;
    context.textBaseline = "middle";
    context.fillStyle = ink.muted;
    sums.forEach(([general, specific], row) => {
      const y = Math.round((grid.y + row * grid.cellHeight) * scale);
      const height = Math.round((grid.y + (row + 1) * grid.cellHeight) * scale) - y;
      const thick = Math.max(1, Math.round(height * 0.6)), top = y + Math.round((height - thick) / 2);
      const [a, b] = [general, specific].map((n) => Math.round((room * n) / most));
      if (general) filled.push([left, top, Math.max(1, a), thick]);
      if (specific) hollow.push([left + a, top, Math.max(1, b), thick]);
      if (row % step) return;
      context.textAlign = "right";
      context.fillText(String(row), (grid.x - 6) * scale, y + height / 2);
      context.textAlign = "left";
      if (grid.strip.label) context.fillText(count(general + specific), left + a + b + 4 * scale, y + height / 2);
    });
    paintTicks(context, filled, hollow, scale, ink);
  }

  // Neuron numbers under the map.
  function drawColumns(context, grid, width, scale, ink) {
    const goal = width / Math.max(2, (grid.columns * grid.cellWidth) / 90);
    const power = 10 ** Math.floor(Math.log10(goal));
    const step = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= goal));
    const y = (grid.y + grid.rows * grid.cellHeight) * scale;
    context.font = Math.round(11 * scale) + FONT;
    context.textBaseline = "top";
    context.fillStyle = ink.muted;
    for (let n = 0; n < width; n += step) {
      const x = Math.round((grid.x + (n * grid.cellWidth) / grid.per) * scale);
      context.fillRect(x, y, Math.max(1, Math.round(scale)), 4 * scale);
      context.textAlign = n === 0 ? "left" : "center";
      context.fillText(String(n), x, y + 6 * scale);
    }
  }

  // --- the map

  class NeuronMap {
    // on: {open(neurons, byKey), layer(number)}
    constructor(levels, on) {
      Object.assign(this, { levels, on, view: null, cursor: -1 });
      const cellOf = (event) => this.cellAt(event.offsetX, event.offsetY);
      this.base = el("canvas", { "aria-hidden": "true" });
      this.over = el("canvas", {
        ...{ class: "nx-over", tabindex: "0", role: "application", "aria-roledescription": "map" },
        onpointermove: (event) => this.hover(cellOf(event)),
        onpointerleave: () => this.hover(-1),
        onclick: (event) => {
          const cell = cellOf(event), row = this.view.layer < 0 ? this.rowAt(event.offsetY) : -1;
          if (cell >= 0) this.open(cell, false);
          else if (row >= 0) on.layer(row);
        },
        onkeydown: (event) => this.key(event),
        onblur: () => this.overlay(),
        onfocus: () => {
          if (this.over.matches(":focus-visible")) this.say();
          this.overlay();
        },
      });
      this.tip = el("div", { class: "nx-tip", hidden: true, "aria-hidden": "true" });
      this.live = el("div", { class: "nx-sr", "aria-live": "polite" });
      this.element = el("div", { class: "nx-map" }, this.base, this.over, this.tip, this.live);
      this.watch = new ResizeObserver(() => this.view && this.measure() !== this.size && this.draw());
      this.watch.observe(this.element);
    }

    close() { this.watch.disconnect(); }
    measure() { return this.element.clientWidth + "@" + density(); }

    show(view) {
      this.view = { ...view };
      this.draw();
    }

    // only the selection changed
    select(index) {
      this.view.neuron = index;
      this.overlay();
    }

    draw() {
      const { levels, view } = this, one = view.layer >= 0, scale = density();
      const grid = (this.grid = (one ? squareGrid : rowGrid)(levels, this.element.clientWidth || 600));
      this.size = this.measure();
      for (const canvas of [this.base, this.over]) {
        canvas.width = Math.round(grid.room * scale);
        canvas.height = Math.round(grid.height * scale);
        canvas.style.height = grid.height + "px";
      }
      const context = this.base.getContext("2d"), ink = inks(this.element);
      this.order = one ? levels.sorted(view.layer, view) : null;
      const cells = (this.cells = one ? this.squares() : levels.cells(view, grid.per));
      this.first = Math.min(levels.highest, firstShade(one ? levels.of(view.topic) : cells.level));
      const shade = shades(levels.payload.shares, ink, this.first, levels.highest);
      (one ? drawSquares : drawCells)(context, grid, cells, scale, ink, shade);
      if (!one) {
        drawRows(context, grid, cells, scale, ink);
        drawColumns(context, grid, levels.width, scale, ink);
      }
      const all = `Map of all neurons: ${levels.layers} layers from the top down, neuron number from left to right.`;
      const title = one ? `Neurons of layer ${view.layer}.` : all;
      this.over.setAttribute("aria-label", title + " Arrow keys move, Enter opens.");
      if (this.cursor >= grid.cells) this.cursor = -1;
      this.overlay();
    }

    squares() {
      const { view, levels, order } = this;
      const table = levels.marks(view.topic, view.type), mask = levels.mask(view.gamma), shown = levels.of(view.topic);
      const marked = (what) => Uint8Array.from(order, (index) =>
        (!view.cards || levels.carded[index] ? table[mask[index]] : 0) === what);
      const level = Uint8Array.from(order, (index) => shown[index]);
      return { level, general: marked(X.GENERAL), specific: marked(X.SPECIFIC) };
    }

    // --- cells and neurons

    cellAt(x, y) {
      const { grid } = this;
      const column = Math.floor((x - grid.x) / grid.cellWidth), row = this.rowAt(y);
      const cell = row * grid.columns + column;
      return row >= 0 && column >= 0 && column < grid.columns && cell < grid.cells ? cell : -1;
    }

    rowAt(y) {
      const row = Math.floor((y - this.grid.y) / this.grid.cellHeight);
      return row >= 0 && row < this.grid.rows ? row : -1;
    }

    // neurons of a cell
    neurons(cell) {
      if (this.order) return [this.order[cell]];
      const { columns, per } = this.grid, { width } = this.levels;
      const first = Math.floor(cell / columns) * width, from = (cell % columns) * per;
      return Array.from({ length: Math.min(per, width - from) }, (_, i) => first + from + i);
    }

    // cell of a neuron, -1 if the layer shown is another
    cellOf(index) {
      if (index === null) return -1;
      const layer = this.levels.layerOf(index);
      if (this.order) return layer === this.view.layer ? this.order.indexOf(index) : -1;
      return layer * this.grid.columns + Math.floor(this.levels.neuronOf(index) / this.grid.per);
    }

    // the corner of a cell in CSS pixels of the canvas
    corner(cell) {
      const { x, y, cellWidth, cellHeight, columns } = this.grid;
      return [x + (cell % columns) * cellWidth, y + Math.floor(cell / columns) * cellHeight];
    }

    describe(cell) {
      const { levels, view } = this, neurons = this.neurons(cell), shown = levels.of(view.topic);
      const first = neurons[0], last = neurons[neurons.length - 1], one = first === last;
      const top = neurons.reduce((a, b) => (shown[b] > shown[a] ? b : a), first);
      const topics = view.topic < 0 ? levels.topTopics(top) : [levels.topics[view.topic]];
      const numbers = levels.neuronOf(first) + (one ? "" : "–" + levels.neuronOf(last));
      const where = "layer " + levels.layerOf(first) + ", neuron" + (one ? " " : "s ") + numbers;
      const best = one ? "" : "strongest: " + levels.name(top) + ", ";
      const [general, specific] = [this.cells.general[cell], this.cells.specific[cell]];
      const said = one
        ? [general && "general (G)", specific && "topic-specific (S)"]
        : [general && general + " G", specific && specific + " S"];
      const members = said.filter(Boolean).join(", ") || "none marked";
      return [where, best + levels.share(shown[top]) + " for " + topics.join(", "), members];
    }

    // --- pointer, keys, overlay

    hover(cell) {
      this.over.style.cursor = cell >= 0 ? "pointer" : "default";
      if (cell === this.hovered) return;
      this.hovered = cell;
      this.tip.hidden = cell < 0;
      if (cell >= 0) {
        this.tip.replaceChildren(...this.describe(cell).map((line) => el("div", {}, line)));
        const [x, y] = this.corner(cell), { room, height, cellWidth, cellHeight } = this.grid;
        const across = x > room / 2 ? "right:" + (room - x + 10) : "left:" + (x + cellWidth + 10);
        const down = y > height / 2 ? "bottom:" + (height - y + 10) : "top:" + (y + cellHeight + 10);
        this.tip.style.cssText = across + "px;" + down + "px";
      }
      this.overlay();
    }

    open(cell, byKey) {
      this.cursor = cell;
      this.on.open(this.neurons(cell), byKey);
    }

    start() { return this.cursor < 0 ? Math.max(0, this.cellOf(this.view.neuron)) : this.cursor; }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { columns, cells } = this.grid, at = this.start(), row = at - (at % columns);
      const moves = {
        ...{ ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns },
        ...{ PageUp: at - 5 * columns, PageDown: at + 5 * columns },
        ...{ Home: row, End: Math.min(cells, row + columns) - 1, Enter: at, " ": at },
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      if (event.key === "Enter" || event.key === " ") return this.open(at, true);
      const next = this.cursor < 0 && !["Home", "End"].includes(event.key) ? at : moves[event.key];
      if (next >= 0 && next < cells) this.cursor = next;
      this.say();
      this.overlay();
    }

    say() {
      this.cursor = this.start();
      this.live.textContent = this.describe(this.cursor).join("; ");
    }

    overlay() {
      if (!this.grid) return;
      const scale = density(), { cellWidth, cellHeight, cells } = this.grid;
      const context = this.over.getContext("2d"), ink = inks(this.element);
      context.clearRect(0, 0, this.over.width, this.over.height);
      const box = (cell, out, line, colour) => {
        const [left, top] = this.corner(cell).map((at) => Math.round((at - out) * scale));
        const [width, height] = [cellWidth, cellHeight].map((size) => Math.round((size + 2 * out) * scale));
        context.fillStyle = colour;
        frame(context, left, top, width, height, Math.round(line * scale));
      };
      if (this.hovered >= 0 && this.hovered < cells) box(this.hovered, 1, 1, ink.text);
      const chosen = this.cellOf(this.view.neuron);
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

  Object.assign(X, { NeuronMap, inks, shades });
})();
