// What is wider than the page: a table takes the free margin beside it, and what still scrolls shows at which side there
// is more and can be reached with the Tab key. The look is in polinb.css; without scripts there is the scroll bar alone.
(function () {
  "use strict";

  const GAP = 24; // pixels kept free at the window's edge
  const WIDE = 992; // the theme's widest layout without a margin ends here

  // box: what scrolls; edge: the element around it that shows the shadow; name: what a screen reader calls it
  function watch(box, edge, name) {
    edge.classList.add("polinb-edge");
    const tell = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      const more = [box.scrollLeft > 1 ? "left" : "", hidden - box.scrollLeft > 1 ? "right" : ""];
      edge.dataset.more = more.filter(Boolean).join(" ");
      if (hidden > 1) {
        box.tabIndex = 0;
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", name + ", scrolls sideways");
      } else if (box.getAttribute("role") === "region") {
        ["tabindex", "role", "aria-label"].forEach((attribute) => box.removeAttribute(attribute));
      }
    };
    box.addEventListener("scroll", tell, { passive: true });
    new ResizeObserver(tell).observe(box);
    tell();
  }

  function text(element) {
    return element ? element.textContent.replace(/[#\s]+/g, " ").trim() : "";
  }

  // A table that needs it is widened to the right, over the margin. The theme hides the page's contents, which stand
  // there, while an element of the class full-width is beside them.
  function widen(edge, box) {
    edge.style.width = "";
    const over = box.scrollWidth - box.clientWidth;
    if (over <= 1 || innerWidth < WIDE) return;
    const left = edge.getBoundingClientRect().left;
    const room = document.documentElement.clientWidth - left - GAP;
    if (room > box.clientWidth) edge.style.width = Math.min(box.clientWidth + over, room) + "px";
  }

  function tables() {
    const found = [...document.querySelectorAll(".bd-article .pst-scrollable-table-container")];
    const aside = document.querySelector("div.bd-sidebar-secondary"); // some pages have none, and the theme would fail
    const made = found.map((box) => {
      const edge = document.createElement("div");
      const over = box.scrollWidth > box.clientWidth + 1;
      box.replaceWith(edge);
      edge.append(box);
      if (over) edge.className = aside ? "full-width polinb-wide" : "polinb-wide"; // before the theme looks for it
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
      const number = text(place.querySelector(".eqno"));
      if (box) watch(box, place, number ? "Equation " + number : "Equation");
    }
  }

  const again = tables(); // this script is deferred: the page is there, and the theme has not looked at it yet
  document.addEventListener("DOMContentLoaded", () => { // and now MathJax too
    const maths = window.MathJax && window.MathJax.startup;
    if (maths && maths.promise) maths.promise.then(equations).then(again); // a formula is not as wide as its source
  });
})();
