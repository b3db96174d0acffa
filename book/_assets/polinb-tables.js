// Tables: a click on a head sorts a table of numbers by the values that lie beside it, exactly; a wide one takes free
// margin. What still scrolls sideways, equations too, shows where there is more and can be reached with the Tab key.
(function () {
  "use strict";
  const GAP = 24; // pixels kept free at the window's edge
  const WIDE = 992; // the theme's widest layout without a margin ends here
  const FEWEST = 4; // rows that are worth sorting
  const NEXT = { null: "ascending", ascending: "descending", descending: null }; // null: as the chapter has them
  const { el, button } = polinb.dom;
  const text = (node) => (node ? node.textContent.replace(/\s+/g, " ").trim() : "");
  // keys: for each column its values, null where one is missing; a column of texts has null, and is sorted as shown
  function sortable(table, keys) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    if (rows.length < FEWEST || !keys.some(Boolean)) return;
    const sort = (column, order) => {
      const values = keys[column] || rows.map((row) => text(row.cells[column]).replace(/^–$/, "") || null);
      const missing = (i) => values[i] === null;
      const compare = (a, b) => (keys[column] ? a - b || 0 : a.localeCompare(b, "en", { numeric: true }));
      const sign = order === "descending" ? -1 : 1; // what is missing stands last either way
      const places = [...rows.keys()];
      if (order) places.sort((i, j) => missing(i) - missing(j) || sign * compare(values[i], values[j]) || i - j);
      body.append(...places.map((i) => rows[i]));
    };
    heads.forEach((head, column) => {
      const place = head.querySelector("p") || head;
      place.append(button([...place.childNodes], () => {
        const order = NEXT[head.getAttribute("aria-sort")];
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        if (order) head.setAttribute("aria-sort", order);
        sort(column, order);
      }, { class: "polinb-sort" }));
    });
  }

  // box: what scrolls; edge: the element around it that shows the shadow; name: what a screen reader calls it
  function watch(box, edge, name) {
    edge.classList.add("polinb-edge");
    const named = { tabindex: "0", role: "region", "aria-label": name + ", scrolls sideways" };
    const tell = () => {
      const hidden = box.scrollWidth - box.clientWidth, mine = box.getAttribute("role") === "region";
      const more = [box.scrollLeft > 1 && "left", hidden - box.scrollLeft > 1 && "right"];
      edge.dataset.more = more.filter(Boolean).join(" ");
      for (const [attribute, value] of Object.entries(named))
        if (hidden > 1) box.setAttribute(attribute, value);
        else if (mine) box.removeAttribute(attribute);
    };
    box.addEventListener("scroll", tell, { passive: true });
    const sizes = new ResizeObserver(tell); // tells at once, too
    for (const each of [box, box.firstElementChild]) sizes.observe(each); // a formula may make a table wider later
  }

  function widen(edge, box) {
    edge.style.width = "";
    const over = box.scrollWidth - box.clientWidth;
    if (over <= 1 || innerWidth < WIDE) return;
    const room = document.documentElement.clientWidth - edge.getBoundingClientRect().left - GAP;
    if (room > box.clientWidth) edge.style.width = Math.min(box.clientWidth + over, room) + "px";
  }

  function tables() {
    for (const beside of document.querySelectorAll(".bd-article [data-values]")) // below a table that is made of data
      sortable(beside.previousElementSibling.querySelector("table"), JSON.parse(beside.dataset.values));
    // the theme hides the page's contents, which stand in the margin, beside an element of the class full-width; some
    // pages have none, and the theme would fail
    const wide = (document.querySelector("div.bd-sidebar-secondary") ? "full-width " : "") + "polinb-wide";
    const boxes = [...document.querySelectorAll(".bd-article .pst-scrollable-table-container")];
    const overs = boxes.map((box) => box.scrollWidth > box.clientWidth + 1); // read before any is moved: one layout
    const edges = boxes.map((box, i) => {
      const edge = el("div", { class: overs[i] && wide });
      box.replaceWith(edge);
      edge.append(box);
      return edge;
    });
    const all = () => boxes.forEach((box, i) => overs[i] && widen(edges[i], box));
    all();
    addEventListener("resize", all);
    boxes.forEach((box, i) => watch(box, edges[i], text(box.querySelector(".caption-number")) || "Table"));
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
    window.MathJax?.startup?.promise?.then(equations).then(again); // a formula is not as wide as its source
  });
})();
