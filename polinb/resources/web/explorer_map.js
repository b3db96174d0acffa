// The map of all neurons: layers as rows and neurons as columns, or one layer with a square a neuron. The upper of two
// canvases carries cursor and selection only. Positions are in whole device pixels: edges are sharp on every screen.

const CELL = 5; // narrowest cell of the overview in CSS pixels: it can still be hit
const TALLEST = 480, NARROW = 480;
const FONT = "px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

// Where things lie on a map of `room` CSS pixels: one layer, a square a neuron; a margin for the selection's frame.
function squareGrid({ width }, room) {
  const side = clamp(Math.floor(Math.sqrt((room * (room < NARROW ? 420 : TALLEST)) / width)), 3, 14);
  const columns = clamp(Math.floor((room - 10) / side), 1, width), rows = Math.ceil(width / columns);
  const size = { cellWidth: side, cellHeight: side, height: rows * side + 10, room };
  return { x: 5, y: 5, columns, rows, cells: width, per: 1, ...size };
}

// The same for all layers, several neurons a cell, and at the right a strip for the layers' bars.
function rowGrid({ layers, width }, room) {
  const [stripWidth, label] = room < NARROW ? [52, 0] : [120, 40], x = 34;
  const plot = Math.max(CELL, room - x - stripWidth - 10), per = Math.ceil(width / Math.floor(plot / CELL));
  const columns = Math.ceil(width / per), cellWidth = Math.min(plot / columns, 24);
  const cellHeight = clamp(Math.floor(TALLEST / layers), 5, 22);
  const strip = { x: x + columns * cellWidth + 10, width: stripWidth - label, label };
  const size = { cellWidth, cellHeight, strip, height: layers * cellHeight + 26, room };
  return { x, y: 4, columns, rows: layers, cells: columns * layers, per, ...size };
}

// a cell's x, y, width and height in device pixels
function boxOf({ x, y, cellWidth, cellHeight, columns }, cell, scale) {
  const column = cell % columns, row = Math.floor(cell / columns);
  const edge = (start, step, i) => Math.round((start + i * step) * scale);
  const left = edge(x, cellWidth, column), top = edge(y, cellHeight, row);
  return [left, top, edge(x, cellWidth, column + 1) - left, edge(y, cellHeight, row + 1) - top];
}

// Colours of the page's theme, read anew at every drawing.
function inks(element) {
  const style = getComputedStyle(element);
  const ink = (name) => style.getPropertyValue("--px-" + name).trim();
  const parts = (colour) => colour.match(/\w\w/g).map((hex) => parseInt(hex, 16));
  const [low, high] = ["level-low", "level-high"].map((name) => parts(ink(name)));
  const [general, specific, muted, ground, mark] = ["left", "right", "soft", "ground", "mark"].map(ink);
  return { low, high, general, specific, muted, ground, mark, text: style.color };
}

// Colour of each level: equal steps of grey for equal steps of the share's logarithm, from level `first` to `last`.
function shades(shares, ink, first, last) {
  const log = shares.map((s) => Math.log10(s)), span = log[first] - log[last] || 1;
  const grey = (at) => ink.low.map((low, i) => Math.round(low + at * (ink.high[i] - low)));
  return log.map((value) => `rgb(${grey(clamp((log[first] - value) / span, 0, 1))})`);
}

function fill(context, colour, x, y, width, height) {
  context.fillStyle = colour;
  context.fillRect(x, y, width, height);
}

// A frame of four filled edges: sharper than a stroked path, and as fast.
function frame(context, colour, line, x, y, width, height) {
  if (width <= 2 * line) return fill(context, colour, x, y, clamp(width, 1, line), height);
  fill(context, colour, x, y, width, line);
  fill(context, colour, x, y + height - line, width, line);
  fill(context, colour, x, y, line, height);
  fill(context, colour, x + width - line, y, line, height);
}

// All layers: a grey for the level, below it ticks for the sets, G filled and S hollow, and a gap between rows.
function drawCells(context, grid, { level, general, specific }, scale, ink, shade) {
  const line = Math.max(1, Math.round(scale)), gap = Math.round(scale);
  const most = Math.max(1, largest(general), largest(specific));
  for (let cell = 0; cell < grid.cells; cell++) {
    const [x, y, width, height] = boxOf(grid, cell, scale), [G, S] = [general[cell], specific[cell]];
    const floor = y + height - Math.max(1, Math.round(height * 0.1)), half = G && S ? width >> 1 : 0;
    const lane = Math.max(Math.round(2 * scale), Math.round((floor - y) * 0.48));
    const tall = (n) => clamp(Math.round(lane * Math.sqrt(n / most)), Math.round(3 * scale), lane);
    const wide = (half || width) - (width > 3 * scale ? gap : 0);
    fill(context, shade[level[cell]], x, y, width, floor - lane - y);
    if (G) fill(context, ink.general, x, floor - tall(G), Math.max(1, wide), tall(G));
    if (S) frame(context, ink.specific, line, x + half, floor - tall(S), Math.max(1, width - half - gap), tall(S));
  }
}

// One layer, a square a neuron: G a filled square of its colour, S a frame, both over the level's grey.
function drawSquares(context, grid, { level, general, specific }, scale, ink, shade) {
  const large = grid.cellWidth >= 6, gap = large ? Math.round(scale) : 0;
  const line = Math.max(1, Math.round(scale * (grid.cellWidth >= 8 ? 1.5 : 1)));
  for (let cell = 0; cell < grid.cells; cell++) {
    const [x, y, ...size] = boxOf(grid, cell, scale), [width, height] = size.map((length) => length - gap);
    const inset = large ? Math.round(width / 5) : 0;
    const inner = (more) => [x + inset - more, y + inset - more, ...[width, height].map((n) => n - 2 * (inset - more))];
    fill(context, shade[level[cell]], x, y, width, height);
    if (general[cell] && inset) frame(context, ink.ground, 1, ...inner(1));
    if (general[cell]) fill(context, ink.general, ...inner(0));
    if (specific[cell]) frame(context, ink.specific, line, x, y, width, height);
  }
}

// Layer numbers at the left, and at the right a bar for each layer: G filled, then S hollow.
function drawRows(context, grid, { general, specific }, scale, ink) {
  const { columns, rows, strip, cellHeight } = grid, every = Math.ceil(11 / cellHeight);
  const step = [1, 2, 5, 10].find((n) => n >= every), left = Math.round(strip.x * scale);
  const inRow = (list, row) => sum(list.slice(row * columns, (row + 1) * columns));
  const sums = Array.from({ length: rows }, (_, row) => [inRow(general, row), inRow(specific, row)]);
  const most = Math.max(1, ...sums.map(sum));
  Object.assign(context, { font: Math.round(clamp(cellHeight - 2, 9, 11) * scale) + FONT, textBaseline: "middle" });
  sums.forEach(([G, S], row) => {
    const [, y, , height] = boxOf(grid, row * columns, scale), thick = Math.max(1, Math.round(height * 0.6));
    const top = y + Math.round((height - thick) / 2);
    const [a, b] = [G, S].map((n) => Math.round((strip.width * scale * n) / most));
    if (G) fill(context, ink.general, left, top, Math.max(1, a), thick);
    if (S) frame(context, ink.specific, Math.max(1, Math.round(scale)), left + a, top, Math.max(1, b), thick);
    if (row % step) return;
    Object.assign(context, { fillStyle: ink.muted, textAlign: "right" });
    context.fillText(row, (grid.x - 6) * scale, y + height / 2);
    context.textAlign = "left";
    if (strip.label) context.fillText(count(G + S), left + a + b + 4 * scale, y + height / 2);
  });
}

// Neuron numbers under the map.
function drawColumns(context, grid, width, scale, ink) {
  const goal = width / Math.max(2, (grid.columns * grid.cellWidth) / 90), power = 10 ** Math.floor(Math.log10(goal));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= goal));
  const y = (grid.y + grid.rows * grid.cellHeight) * scale;
  Object.assign(context, { font: Math.round(11 * scale) + FONT, textBaseline: "top" });
  for (let n = 0; n < width; n += step) {
    const x = Math.round((grid.x + (n * grid.cellWidth) / grid.per) * scale);
    fill(context, ink.muted, x, y, Math.max(1, Math.round(scale)), 4 * scale);
    context.textAlign = n ? "center" : "left";
    context.fillText(n, x, y + 6 * scale);
  }
}

class NeuronMap {
  // on: {open(neurons, byKey), layer(number)}
  constructor(levels, on) {
    Object.assign(this, { levels, on, cursor: -1, hovered: -1 });
    this.base = el("canvas", { "aria-hidden": "true" });
    this.over = el("canvas.nx-over", {
      ...{ tabindex: "0", role: "application", "aria-roledescription": "map" },
      onpointermove: (event) => this.hover(this.under(event).cell),
      onpointerleave: () => this.hover(-1),
      onclick: (event) => this.click(event),
      onkeydown: (event) => this.key(event),
      onblur: () => this.overlay(),
      onfocus: () => (this.over.matches(":focus-visible") ? this.say() : this.overlay()),
    });
    this.tip = el("div.nx-tip", { hidden: true, "aria-hidden": "true" });
    this.live = el("div.nx-sr", { "aria-live": "polite" });
    this.element = el("div.nx-map", this.base, this.over, this.tip, this.live);
    this.watch = new ResizeObserver(() => this.view && this.measure() !== this.size && this.draw());
    this.watch.observe(this.element);
  }

  close() { this.watch.disconnect(); }
  measure() { return this.element.clientWidth + "@" + devicePixelRatio; }

  draw(view = this.view) {
    this.view = view;
    const { levels } = this, one = view.layer >= 0, scale = devicePixelRatio, ink = inks(this.element);
    const grid = (this.grid = (one ? squareGrid : rowGrid)(levels, this.element.clientWidth || 600));
    this.size = this.measure();
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(grid.room * scale);
      canvas.height = Math.round(grid.height * scale);
      canvas.style.height = grid.height + "px";
    }
    this.order = one ? levels.sorted(view) : null;
    this.cells = levels.cells(view, grid.per, this.order);
    const shown = (one ? levels.of(view.topic) : this.cells.level).slice().sort();
    this.first = Math.min(levels.highest, shown[Math.floor(shown.length / 20)]); // below it no grey of its own
    const shade = shades(levels.payload.shares, ink, this.first, levels.highest), context = this.base.getContext("2d");
    (one ? drawSquares : drawCells)(context, grid, this.cells, scale, ink, shade);
    if (!one) {
      drawRows(context, grid, this.cells, scale, ink);
      drawColumns(context, grid, levels.width, scale, ink);
    }
    const all = `Map of all neurons: ${levels.layers} layers from the top down, neuron number from left to right.`;
    const title = one ? `Neurons of layer ${view.layer}.` : all;
    this.over.setAttribute("aria-label", title + " Arrow keys move, Enter opens.");
    if (this.cursor >= grid.cells || this.layer !== view.layer) this.cursor = -1;
    this.layer = view.layer;
    this.overlay();
  }

  // row and cell under the pointer, or -1
  under({ offsetX, offsetY }) {
    const { x, y, cellWidth, cellHeight, columns, rows, cells } = this.grid;
    const column = Math.floor((offsetX - x) / cellWidth), row = Math.floor((offsetY - y) / cellHeight);
    const cell = row * columns + column, inside = row >= 0 && row < rows;
    return { row: inside ? row : -1, cell: inside && column >= 0 && column < columns && cell < cells ? cell : -1 };
  }

  neurons(cell) {
    if (this.order) return [this.order[cell]];
    const { columns, per } = this.grid, { width } = this.levels, from = (cell % columns) * per;
    const first = Math.floor(cell / columns) * width + from;
    return Array.from({ length: Math.min(per, width - from) }, (_, i) => first + i);
  }

  // cell of a neuron, -1 if the layer shown is another
  cellOf(index) {
    if (index === null) return -1;
    if (this.order) return this.order.indexOf(index);
    return this.levels.layerOf(index) * this.grid.columns + Math.floor(this.levels.neuronOf(index) / this.grid.per);
  }

  // the corner of a cell in CSS pixels of the canvas
  corner(cell) {
    const { x, y, cellWidth, cellHeight, columns } = this.grid;
    return [x + (cell % columns) * cellWidth, y + Math.floor(cell / columns) * cellHeight];
  }

  describe(cell) {
    const { levels, view } = this, neurons = this.neurons(cell), shown = levels.of(view.topic);
    const first = neurons[0], last = neurons.at(-1), one = first === last;
    const top = neurons.reduce((a, b) => (shown[b] > shown[a] ? b : a));
    const topics = view.topic < 0 ? levels.topTopics(top) : [levels.topics[view.topic]];
    const numbers = one ? " " + levels.neuronOf(first) : `s ${levels.neuronOf(first)}–${levels.neuronOf(last)}`;
    const best = one ? "" : "strongest: " + levels.name(top) + ", ";
    const [G, S] = [this.cells.general[cell], this.cells.specific[cell]];
    const members = [G && (one ? "general (G)" : G + " G"), S && (one ? "topic-specific (S)" : S + " S")];
    return [
      "layer " + levels.layerOf(first) + ", neuron" + numbers,
      best + levels.share(shown[top]) + " for " + topics.join(", "),
      members.filter(Boolean).join(", ") || "none marked",
    ];
  }

  hover(cell) {
    this.over.style.cursor = cell >= 0 ? "pointer" : "default";
    if (cell === this.hovered) return;
    this.hovered = cell;
    this.tip.hidden = cell < 0;
    if (cell >= 0) {
      this.tip.replaceChildren(...this.describe(cell).map((line) => el("div", line)));
      const [x, y] = this.corner(cell), { room, height, cellWidth, cellHeight } = this.grid;
      const across = x > room / 2 ? "right:" + (room - x + 10) : "left:" + (x + cellWidth + 10);
      const down = y > height / 2 ? "bottom:" + (height - y + 10) : "top:" + (y + cellHeight + 10);
      this.tip.style.cssText = across + "px;" + down + "px";
    }
    this.overlay();
  }

  // a cell is opened; beside the cells, a row's layer
  click(event) {
    const { row, cell } = this.under(event);
    if (cell >= 0) this.open(cell, false);
    else if (row >= 0 && !this.order) this.on.layer(row);
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
  }

  say() {
    this.cursor = this.start();
    this.live.textContent = this.describe(this.cursor).join("; ");
    this.overlay();
  }

  overlay() {
    if (!this.grid) return;
    const scale = devicePixelRatio, { cellWidth, cellHeight, cells } = this.grid, ink = inks(this.element);
    const context = this.over.getContext("2d");
    context.clearRect(0, 0, this.over.width, this.over.height);
    const box = (cell, out, line, colour) => {
      if (cell < 0) return;
      const corner = this.corner(cell).map((at) => Math.round((at - out) * scale));
      const size = [cellWidth, cellHeight].map((length) => Math.round((length + 2 * out) * scale));
      frame(context, colour, Math.round(line * scale), ...corner, ...size);
    };
    const chosen = this.cellOf(this.view.neuron), cursor = document.activeElement === this.over ? this.cursor : -1;
    box(this.hovered < cells ? this.hovered : -1, 1, 1, ink.text);
    box(chosen, 4, 2, ink.ground);
    box(chosen, 3, 2, ink.mark);
    box(cursor, 3, 1, ink.ground);
    box(cursor, 2, 2, ink.text);
  }
}
