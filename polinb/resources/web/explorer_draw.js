// Draws the neuron map on a canvas: a grey for the level, and below it ticks for the sets, G filled and S hollow.
// All positions are in device pixels, rounded, so that edges are sharp on every screen.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const CELL = 5; // narrowest cell of the overview in CSS pixels: it can still be hit
  const TALLEST = 480;
  const NARROW = 480;
  const FONT = "px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

  // Where things lie on a map of `room` CSS pixels: all layers with several neurons a cell, or one layer, a square each.
  function mapGrid(levels, one, room) {
    return one ? squareGrid(levels.width, room) : rowGrid(levels, room);
  }

  function squareGrid(width, room) {
    const tall = room < NARROW ? 420 : TALLEST;
    const side = Math.max(3, Math.min(14, Math.floor(Math.sqrt((room * tall) / width))));
    const columns = Math.max(1, Math.min(width, Math.floor((room - 10) / side)));
    const rows = Math.ceil(width / columns);
    const size = { cellWidth: side, cellHeight: side, height: rows * side + 10, room };
    return { x: 5, y: 5, columns, rows, cells: width, per: 1, ...size }; // a margin for the selection's frame
  }

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

  // Colours of the page's theme, read anew at every drawing.
  function inks(element) {
    const style = getComputedStyle(element);
    const ink = (name) => style.getPropertyValue("--nx-" + name).trim();
    return {
      low: hex(ink("level-low")),
      high: hex(ink("level-high")),
      general: ink("g"),
      specific: ink("s"),
      text: style.color,
      muted: ink("muted-ink"),
      ground: ink("ground-ink"),
      mark: ink("mark"),
    };
  }

  const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));

  // Colour of each level: equal steps of grey for equal steps of the share's logarithm, from level `first` to `last`.
  function shades(shares, ink, first, last) {
    const log = shares.map((s) => Math.log10(s));
    const span = log[first] - log[last] || 1;
    return log.map((value) => {
      const at = Math.min(1, Math.max(0, (log[first] - value) / span));
      const mix = ink.low.map((low, i) => Math.round(low + at * (ink.high[i] - low)));
      return "rgb(" + mix.join(",") + ")";
    });
  }

  // Lowest level that gets a colour of its own: below it lie one in twenty cells.
  function firstShade(levels) {
    const histogram = new Uint32Array(257);
    for (const level of levels) histogram[level]++;
    let seen = 0,
      level = 0;
    while (level < 255 && (seen += histogram[level]) <= levels.length / 20) level++;
    return level;
  }

  // Edges of n equal steps from a length's start, in whole device pixels.
  const edges = (start, step, n, scale) =>
    Int32Array.from({ length: n + 1 }, (_, i) => Math.round((start + i * step) * scale));

  // The lanes of a row: level above, set ticks below, a gap between rows.
  function lanes(height, scale) {
    const gap = Math.max(1, Math.round(height * 0.1));
    const ticks = Math.max(Math.round(2 * scale), Math.round((height - gap) * 0.48));
    return { level: height - gap - ticks, ticks, gap };
  }

  function drawCells(context, grid, cells, scale, ink, shade) {
    const xs = edges(grid.x, grid.cellWidth, grid.columns, scale);
    const ys = edges(grid.y, grid.cellHeight, grid.rows, scale);
    let most = 1;
    for (let i = 0; i < grid.cells; i++) most = Math.max(most, cells.general[i], cells.specific[i]);
    const filled = [],
      hollow = [];
    const height = (n, room) => Math.min(room, Math.max(Math.round(3 * scale), Math.round(room * Math.sqrt(n / most))));
    for (let cell = 0; cell < grid.cells; cell++) {
      const column = cell % grid.columns,
        row = (cell - column) / grid.columns;
      const x = xs[column],
        width = xs[column + 1] - x,
        y = ys[row];
      const lane = lanes(ys[row + 1] - y, scale);
      context.fillStyle = shade[cells.level[cell]];
      context.fillRect(x, y, width, lane.level);
      const floor = y + lane.level + lane.ticks;
      const both = cells.general[cell] && cells.specific[cell];
      const half = both ? width >> 1 : width;
      if (cells.general[cell]) {
        const tall = height(cells.general[cell], lane.ticks);
        filled.push(x, floor - tall, Math.max(1, half - (width > 3 * scale ? Math.round(scale) : 0)), tall);
      }
      if (cells.specific[cell]) {
        const tall = height(cells.specific[cell], lane.ticks);
        hollow.push(
          x + (both ? half : 0),
          floor - tall,
          Math.max(1, (both ? width - half : width) - Math.round(scale)),
          tall,
        );
      }
    }
    paintTicks(context, filled, hollow, Math.max(1, Math.round(scale)), ink);
  }

  function paintTicks(context, filled, hollow, line, ink) {
    context.fillStyle = ink.general;
    for (let i = 0; i < filled.length; i += 4) context.fillRect(filled[i], filled[i + 1], filled[i + 2], filled[i + 3]);
    context.fillStyle = ink.specific;
    for (let i = 0; i < hollow.length; i += 4)
      frame(context, hollow[i], hollow[i + 1], hollow[i + 2], hollow[i + 3], line);
  }

  // A frame of four filled edges: sharper than a stroked path, and as fast.
  function frame(context, x, y, width, height, line) {
    if (width <= 2 * line) return context.fillRect(x, y, Math.max(1, Math.min(width, line)), height);
    context.fillRect(x, y, width, line);
    context.fillRect(x, y + height - line, width, line);
    context.fillRect(x, y, line, height);
    context.fillRect(x + width - line, y, line, height);
  }

  // One layer, a square a neuron: G a filled square of its colour, S a frame, both over the level's grey.
  function drawSquares(context, grid, cells, scale, ink, shade) {
    const xs = edges(grid.x, grid.cellWidth, grid.columns, scale);
    const ys = edges(grid.y, grid.cellHeight, grid.rows, scale);
    const gap = grid.cellWidth >= 6 ? Math.round(scale) : 0;
    const line = Math.max(1, Math.round(scale * (grid.cellWidth >= 8 ? 1.5 : 1)));
    for (let cell = 0; cell < grid.cells; cell++) {
      const column = cell % grid.columns,
        row = (cell - column) / grid.columns;
      const x = xs[column],
        y = ys[row],
        width = xs[column + 1] - x - gap,
        height = ys[row + 1] - y - gap;
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
  function drawRows(context, grid, tallies, scale, ink) {
    const size = Math.round(Math.min(11, Math.max(9, grid.cellHeight - 2)) * scale);
    const every = Math.max(1, Math.ceil(11 / grid.cellHeight));
    const step = [1, 2, 5, 10, 20, 50].find((n) => n >= every) || 100;
    const most = Math.max(1, ...tallies.map((t) => t.general + t.specific));
    const room = (grid.strip.width - grid.strip.label) * scale,
      left = Math.round(grid.strip.x * scale);
    context.font = size + FONT;
    context.textBaseline = "middle";
    tallies.forEach((tally, row) => {
      const y = Math.round((grid.y + row * grid.cellHeight) * scale);
      const height = Math.round((grid.y + (row + 1) * grid.cellHeight) * scale) - y;
      const middle = y + height / 2;
      context.fillStyle = ink.muted;
      context.textAlign = "right";
      if (row % step === 0) context.fillText(String(row), (grid.x - 6) * scale, middle);
      const thick = Math.max(1, Math.round(height * 0.6)),
        top = y + Math.round((height - thick) / 2);
      const general = Math.round((room * tally.general) / most),
        specific = Math.round((room * tally.specific) / most);
      paintTicks(
        context,
        tally.general ? [left, top, Math.max(1, general), thick] : [],
        tally.specific ? [left + general, top, Math.max(1, specific), thick] : [],
        Math.max(1, Math.round(scale)),
        ink,
      );
      context.fillStyle = ink.muted;
      context.textAlign = "left";
      const text = X.count(tally.general + tally.specific);
      if (grid.strip.label && row % step === 0) context.fillText(text, left + general + specific + 4 * scale, middle);
    });
  }

  // Neuron numbers under the map.
  function drawColumns(context, grid, width, scale, ink) {
    const goal = width / Math.max(2, (grid.columns * grid.cellWidth) / 90);
    const power = 10 ** Math.floor(Math.log10(goal));
    const step = Math.max(
      1,
      [1, 2, 5, 10].map((n) => n * power).find((n) => n >= goal),
    );
    const y = (grid.y + grid.rows * grid.cellHeight) * scale;
    const perNeuron = (grid.columns * grid.cellWidth) / (grid.columns * grid.per);
    context.font = Math.round(11 * scale) + FONT;
    context.textBaseline = "top";
    context.textAlign = "center";
    context.fillStyle = ink.muted;
    for (let n = 0; n < width; n += step) {
      const x = Math.round((grid.x + n * perNeuron) * scale);
      context.fillRect(x, y, Math.max(1, Math.round(scale)), 4 * scale);
      context.textAlign = n === 0 ? "left" : "center";
      context.fillText(String(n), x, y + 6 * scale);
    }
  }

  Object.assign(X, { mapGrid, inks, shades, firstShade, drawCells, drawSquares, drawRows, drawColumns, frame });
})();
