// Looks at the page it runs in and tells what is wrong with it, for test_pages*.py. Defines window.polinbChecks.
(function () {
  "use strict";

  const article = () => document.querySelector("article.bd-article") || document.querySelector("main");
  const short = (text) => text.trim().replace(/\s+/g, " ").slice(0, 60);
  const shown = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) &&
    element.getBoundingClientRect().width > 2 && element.getBoundingClientRect().height > 2;

  // --- colours ---

  function colour(text) {
    const parts = (text.match(/^rgba?\(([^)]*)\)/) || [null, "0,0,0,0"])[1].split(/[,\s/]+/).map(Number);
    return [parts[0], parts[1], parts[2], parts.length > 3 ? parts[3] : 1];
  }
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const opacity = (element, top) => {
    let product = 1;
    for (let at = element; at && at !== top; at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
    return product;
  };
  function luminance(rgb) {
    const part = rgb.slice(0, 3).map((x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  }
  function ratio(one, two) {
    const [high, low] = [luminance(one), luminance(two)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }
  function ground(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const own = colour(getComputedStyle(at).backgroundColor);
      if (own[3] > 0) layers.push(own);
      if (own[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  }
  // The filled shapes of an SVG, in the order in which they are drawn.
  function marks(svg) {
    return [...svg.querySelectorAll("rect, path, circle")].flatMap((shape) => {
      const style = getComputedStyle(shape), fill = colour(style.fill);
      if (style.fill === "none" || style.fill.startsWith("url") || !shape.getScreenCTM()) return [];
      fill[3] *= Number(style.fillOpacity) * opacity(shape, svg);
      return [{ shape, fill, box: shape.getBoundingClientRect() }];
    });
  }
  // What the marks drawn before a text put under it.
  function painted(text, svg, drawn) {
    const { x, y, width, height } = text.getBoundingClientRect();
    const middle = new DOMPoint(x + width / 2, y + height / 2);
    const under = drawn.filter(({ shape, box }) =>
      box.left <= middle.x && box.right >= middle.x && box.top <= middle.y && box.bottom >= middle.y &&
      shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING &&
      shape.isPointInFill(middle.matrixTransform(shape.getScreenCTM().inverse())));
    return under.reduce((below, { fill }) => over(fill, below), ground(svg));
  }
  function texts() {
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement;
      if (!node.data.trim() || parent.closest("script, style, noscript, mjx-assistive-mml, template, .visually-hidden")) continue;
      if (shown(parent)) found.add(parent);
    }
    document.querySelectorAll("mjx-container").forEach((maths) => shown(maths) && found.add(maths));
    return found;
  }
  // Texts whose contrast with what is behind them is below `least`, each once per pair of colours.
  function contrast(least) {
    const poor = new Map(), drawn = new Map();
    let count = 0;
    for (const element of texts()) {
      count += 1;
      const style = getComputedStyle(element);
      const svg = element.closest("svg");
      if (svg && !drawn.has(svg)) drawn.set(svg, marks(svg));
      const below = svg ? painted(element, svg, drawn.get(svg)) : ground(element);
      const ink = colour(svg ? style.fill : style.color);
      ink[3] *= (svg ? Number(style.fillOpacity) : 1) * opacity(element, null);
      const seen = ratio(over(ink, below), below);
      const name = element.tagName.toLowerCase() + (element.className.baseVal ?? element.className).replace(/^|\s+/g, ".");
      const key = `${name} ${ink} ${below}`;
      if (seen < least && !poor.has(key)) poor.set(key, `${seen.toFixed(2)} ${name} “${short(element.textContent)}” ${ink} on ${below.map(Math.round)}`);
    }
    return { count, poor: [...poor.values()] };
  }

  // --- what is on the page ---

  function charts() {
    return [...document.querySelectorAll("div.polinb-vega")].map((chart) => ({
      name: chart.closest("[id]")?.id || short(chart.getAttribute("aria-label") || ""),
      state: chart.dataset.state || "none",
      error: chart.dataset.error || "",
      marks: chart.querySelectorAll('svg g[class*="role-mark"] :is(path, text, rect, circle, line)').length,
      label: (chart.querySelector(".polinb-chart[aria-label]") || chart).getAttribute("aria-label") || "",
    }));
  }
  function parts() {
    return [...document.querySelectorAll("div.polinb-app")].map((part) => ({
      name: part.dataset.app,
      state: part.dataset.state || "none",
      error: part.dataset.error || "",
      text: (part.querySelector(".polinb-app-root")?.textContent || "").length,
      fallback: [...part.querySelectorAll(".polinb-app-fallback")].some((f) => shown(f) && f.textContent.trim() !== ""),
    }));
  }
  function pictures() {
    return [...document.querySelectorAll("div.polinb-vega img.polinb-fallback")].map((img) => ({
      alt: img.alt, visible: shown(img), drawn: img.naturalWidth > 0,
    }));
  }
  function maths() {
    const places = [...document.querySelectorAll("span.math, div.math")];
    const raw = [];
    const walker = document.createTreeWalker(article(), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      // what a model or a user wrote may hold a dollar sign
      if (node.parentElement.closest("pre, code, script, style, .polinb-app, svg, mjx-container, table[id^=tbl] td")) continue;
      if (/\\\(|\\\[|\$[^\s$][^$]*\$|\\begin\{/.test(node.data)) raw.push(short(node.data));
    }
    return {
      places: places.length,
      without: places.filter((place) => !place.querySelector("mjx-container svg")).map((p) => short(p.textContent)),
      errors: document.querySelectorAll('mjx-container [data-mml-node="merror"]').length,
      raw,
    };
  }
  function structure() {
    const wrong = [];
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((h) => article().contains(h));
    const first = [...document.querySelectorAll("h1")].filter(shown).length;
    if (first !== 1) wrong.push(`${first} h1`);
    levels.reduce((before, heading) => {
      const level = Number(heading.tagName[1]);
      if (level > before + 1) wrong.push(`h${level} after h${before}: ${short(heading.textContent)}`);
      return level;
    }, 0);
    for (const img of document.querySelectorAll("img")) {
      const told = article().contains(img) ? img.alt.trim() : img.hasAttribute("alt"); // empty: for decoration
      if (!told) wrong.push(`img without alt ${img.src.slice(0, 60)}`);
    }
    for (const item of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [role=slider]")) {
      if (!shown(item)) continue;
      const by = (item.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent || "").join("");
      const labels = [...(item.labels || [])].map((label) => label.textContent).join("");
      const images = [...item.querySelectorAll("img, svg")].map((i) => i.alt || i.getAttribute("aria-label") || "").join("");
      const name = item.textContent + images + labels + by + (item.getAttribute("aria-label") || item.title || item.placeholder || "");
      if (!name.trim()) wrong.push(`no name: ${item.outerHTML.slice(0, 90)}`);
    }
    const ids = [...document.querySelectorAll("[id]")].filter((e) => !e.closest("svg")).map((e) => e.id);
    for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`id twice: ${id}`);
    return wrong;
  }
  // What sticks out on the right, unless a box around it scrolls.
  function overflow() {
    const wide = document.scrollingElement.scrollWidth;
    const out = wide > innerWidth ? [`the page is ${wide} wide, the window ${innerWidth}`] : [];
    const scrolls = (element) => {
      for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) {
        if (/auto|scroll/.test(getComputedStyle(at).overflowX) && at.getBoundingClientRect().right <= innerWidth + 1) return true;
      }
      return false;
    };
    for (const element of article().querySelectorAll("*")) {
      if (element.closest("mjx-assistive-mml, script") || element.closest("svg") !== null && element.tagName !== "svg") continue;
      if (shown(element) && element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element)) out.push(element.outerHTML.slice(0, 90));
    }
    return out.slice(0, 5);
  }

  // What is wider than its box: equations, tables, heat maps; with whether a shadow and a tab stop say so.
  function cut() {
    const over = (e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1; // not in a closed <details>
    const about = (e, edge) => ({ what: short(e.textContent), shadow: edge.dataset.more || "",
      reached: e.tabIndex === 0, named: !!e.getAttribute("aria-label") });
    const pick = (selector, edge) => [...document.querySelectorAll(selector)].filter(over).map((e) => about(e, e.closest(edge)));
    const stepped = (e) => /"step"/.test(e.querySelector(".polinb-spec")?.textContent.match(/"width":\{[^}]*/) || "");
    return {
      equations: pick("div.math mjx-container[display]", "div.math"),
      tables: pick(".pst-scrollable-table-container", ".polinb-edge"),
      heat: [...document.querySelectorAll(".polinb-vega")].filter(stepped).map((e) => e.querySelector(".polinb-scroll"))
        .filter((e) => e && over(e)).map((e) => about(e, e)),
      stops: [...document.querySelectorAll("mjx-container:not([display])")].filter((e) => e.tabIndex >= 0).map((e) => short(e.textContent)),
    };
  }

  // --- what a visit looks at; test_pages.py judges it

  // Until charts (also those far down) and parts are drawn or failed, and the maths is set.
  async function settle() {
    // what stands in a tab that is not shown is drawn once it is seen
    const waiting = () => [...document.querySelectorAll("div.polinb-vega, div.polinb-app")].some((e) =>
      !["ready", "error"].includes(e.dataset.state) && (!e.closest(".sd-tab-content") || e.getClientRects().length));
    const frame = () => new Promise(requestAnimationFrame);
    const until = Date.now() + 30000;
    if (window.polinbDrawAll) window.polinbDrawAll();
    do await frame();
    while (waiting() && Date.now() < until);
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    await frame();
    await frame(); // what watches sizes hears of them after a frame's callbacks
  }
  // All tabs are shown, what stands in them is judged as well; and no colour is on its way to another.
  function unfold() {
    const still = "*, *::before, *::after { transition: none !important; animation: none !important }";
    document.head.append(Object.assign(document.createElement("style"),
      { textContent: ".sd-tab-content { display: block !important }" + still }));
  }
  function coloured(theme) { // as the theme's button does
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    return contrast(4.5);
  }

  async function drawn() {
    await settle();
    const found = { cut: cut() };
    unfold();
    await settle();
    return { ...found, charts: charts(), parts: parts(), maths: maths() };
  }
  const phone = async () => ({ ...(await drawn()), narrow: overflow() });
  const wide = async () =>
    ({ ...(await drawn()), structure: structure(), light: coloured("light"), dark: coloured("dark") });
  function bare() { // where no script of the page runs
    unfold();
    return { parts: parts(), pictures: pictures() };
  }

  window.polinbChecks = { settle, wide, phone, bare };
})();
