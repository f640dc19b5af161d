// Browsers let a page from the disk read no other: there the search shows titles, and on a server what is around the word.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
