// Over file:// a page may not read another one, so the search shows titles without excerpts there, and no errors.
/* global DOCUMENTATION_OPTIONS */
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
