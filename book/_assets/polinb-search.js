// Over file:// a page may not read another one, so the search shows titles without excerpts there, and no errors.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Chapters before functions, and first those that have the words in their title. Otherwise Sphinx's own numbers.
const polinbAsked = (new URLSearchParams(location.search).get("q") || "").trim().toLowerCase();
window.Scorer = {
  score: ([page, title, , , score]) => {
    if (page.startsWith("api/") || page === "genindex") return score - 30;
    return score + (polinbAsked && title.toLowerCase().includes(polinbAsked) ? 5 : 0);
  },
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
