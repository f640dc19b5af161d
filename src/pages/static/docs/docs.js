// The API page: what the server wrote can be read without this; here each operation gets a form to try it.

import { byId, say } from "../shared/dom.js";
import { Trial } from "./trial.js";

const operations = [...document.querySelectorAll("details.operation")];
let description = null;

/** The document that describes all operations, loaded once, when the first of them is opened. */
function described() {
  description ??= fetch("openapi.json").then(async (response) => {
    if (!response.ok) {
      throw new Error(`openapi.json: ${response.status} ${response.statusText}`);
    }
    return response.json();
  });
  return description;
}

/** Give an operation its form, once. */
async function prepare(details) {
  if (!details.open || details.dataset.ready) {
    return;
  }
  details.dataset.ready = "yes";
  try {
    const paths = (await described()).paths;
    const { method, path } = details.dataset;
    new Trial(details, method, path, paths[path][method]);
    byId("failed").hidden = true;
  } catch (error) {
    description = null;
    delete details.dataset.ready;
    say(byId("failed"), `Nothing can be tried yet (${error.message}). Open the operation again in a moment.`);
    byId("failed").hidden = false;
  }
}

/** Show the operations whose path or text has all of the words. */
function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/);
  const shown = operations.filter((details) => {
    const text = details.querySelector("summary").textContent.toLowerCase();
    details.hidden = !words.every((word) => text.includes(word));
    return !details.hidden;
  });
  for (const section of document.querySelectorAll("section.tag")) {
    const within = [...section.querySelectorAll("details.operation")];
    section.hidden = within.length > 0 && within.every((details) => details.hidden);
  }
  say(byId("found"), byId("filter").value ? `${shown.length} of ${operations.length}` : "");
}

/** Open what the address names after `#`. */
function openNamed() {
  const named = byId(decodeURIComponent(location.hash.slice(1)));
  if (named?.tagName === "DETAILS") {
    named.open = true;
    named.scrollIntoView();
  }
}

for (const details of operations) {
  details.addEventListener("toggle", () => prepare(details));
  prepare(details);
}
byId("find").hidden = false;
byId("find").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", filter);
window.addEventListener("hashchange", openNamed);
openNamed();
