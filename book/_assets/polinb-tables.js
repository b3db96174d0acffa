// Tables: a click on a head sorts a table of numbers, and one that is wider than the page takes the free margin beside it.
// What still scrolls sideways, equations too, shows at which side there is more and can be reached with the Tab key. The
// look is in polinb.css; without scripts there is the scroll bar alone.
(function () {
  "use strict";

  const GAP = 24; // pixels kept free at the window's edge
  const WIDE = 992; // the theme's widest layout without a margin ends here
  const FEWEST = 4; // rows that are worth sorting
  const NEXT = { null: "ascending", ascending: "descending", descending: null }; // null: as the chapter has them
  const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

  const text = (node) => (node ? node.textContent.replace(/\s+/g, " ").trim() : "");

  // --- sorting

  // The number a cell begins with: 1 234; −0.52 [−0.60, −0.44]; +3.1 %; 2 × 10⁻⁶. NaN: none; null: an empty cell or a dash.
  function number(cell) {
    if (["", "–"].includes(cell)) return null;
    const plain = cell.replace(/(\d)[\s,](?=\d{3}(\D|$))/g, "$1").replace(/−/g, "-");
    const found = /^[<≤>≥≈~]?\s*([+-]?(?:\d+(?:\.\d+)?|∞))(?: × 10(⁻?)([⁰¹²³⁴⁵⁶⁷⁸⁹]+))?/.exec(plain);
    if (!found) return NaN;
    const power = [...(found[3] || "⁰")].map((digit) => DIGITS.indexOf(digit)).join("");
    return Number(found[1].replace("∞", "Infinity")) * 10 ** ((found[2] ? -1 : 1) * Number(power));
  }

  function sortable(table) {
    const body = table.tBodies[0], rows = body ? [...body.rows] : [];
    if (rows.length < FEWEST || !table.querySelector("td.text-right")) return;
    const heads = [...table.tHead.rows[0].cells];
    const sort = (column, order) => {
      const texts = rows.map((row) => text(row.cells[column])), numbers = texts.map(number);
      const keys = numbers.some(Number.isNaN) ? texts : numbers;
      const missing = (i) => numbers[i] === null;
      const compare = (a, b) => (typeof a === "number" ? a - b || 0 : String(a).localeCompare(b, "en", { numeric: true }));
      const sign = order === "descending" ? -1 : 1; // what is missing stands last either way
      const places = rows.map((_, i) => i);
      if (order) places.sort((i, j) => missing(i) - missing(j) || sign * compare(keys[i], keys[j]) || i - j);
      body.append(...places.map((i) => rows[i]));
    };
    heads.forEach((head, column) => {
      const place = head.querySelector("p") || head;
      const button = Object.assign(document.createElement("button"), { type: "button", className: "polinb-sort" });
      button.append(...place.childNodes);
      place.append(button);
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort")];
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        if (order) head.setAttribute("aria-sort", order);
        sort(column, order);
      });
    });
  }

  // --- width

  // box: what scrolls; edge: the element around it that shows the shadow; name: what a screen reader calls it
  function watch(box, edge, name) {
    edge.classList.add("polinb-edge");
    const named = { tabindex: "0", role: "region", "aria-label": name + ", scrolls sideways" };
    const tell = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      const more = [box.scrollLeft > 1 && "left", hidden - box.scrollLeft > 1 && "right"];
      edge.dataset.more = more.filter(Boolean).join(" ");
      const mine = box.getAttribute("role") === "region";
      for (const [attribute, value] of Object.entries(named)) {
        if (hidden > 1) box.setAttribute(attribute, value);
        else if (mine) box.removeAttribute(attribute);
      }
    };
    box.addEventListener("scroll", tell, { passive: true });
    new ResizeObserver(tell).observe(box);
    tell();
  }

  function widen(edge, box) {
    edge.style.width = "";
    const over = box.scrollWidth - box.clientWidth;
    if (over <= 1 || innerWidth < WIDE) return;
    const room = document.documentElement.clientWidth - edge.getBoundingClientRect().left - GAP;
    if (room > box.clientWidth) edge.style.width = Math.min(box.clientWidth + over, room) + "px";
  }

  function tables() {
    document.querySelectorAll(".bd-article table.mathjax_ignore").forEach(sortable); // those made of data
    const aside = document.querySelector("div.bd-sidebar-secondary"); // some pages have none, and the theme would fail
    const made = [...document.querySelectorAll(".bd-article .pst-scrollable-table-container")].map((box) => {
      const edge = document.createElement("div"), over = box.scrollWidth > box.clientWidth + 1;
      box.replaceWith(edge);
      edge.append(box);
      // the theme hides the page's contents, which stand in the margin, beside an element of the class full-width
      if (over) edge.className = aside ? "full-width polinb-wide" : "polinb-wide";
      return [edge, box];
    });
    const all = () => made.forEach(([edge, box]) => edge.matches(".polinb-wide") && widen(edge, box));
    all();
    addEventListener("resize", all);
    for (const [edge, box] of made) watch(box, edge, text(box.querySelector(".caption-number")) || "Table");
    return all;
  }

  function equations() {
    for (const place of document.querySelectorAll(".bd-article div.math")) {
      const box = place.querySelector("mjx-container[display]");
      if (box) watch(box, place, `Equation ${text(place.querySelector(".eqno")).replace("#", "")}`.trim());
    }
  }

  const again = tables(); // this script is deferred: the page is there, and the theme has not looked at it yet
  document.addEventListener("DOMContentLoaded", () => { // and now MathJax too
    const maths = window.MathJax && window.MathJax.startup;
    if (maths && maths.promise) maths.promise.then(equations).then(again); // a formula is not as wide as its source
  });
})();
