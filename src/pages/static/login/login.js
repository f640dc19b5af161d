// Who is logged in already goes on at once. A link on another site's page leads here without the cookie, since that is
// for this site alone (SameSite=Strict); what this page asks for comes with it.
import { about, byId } from "../shared/dom.js";

const next = new URLSearchParams(location.search).get("next");

/** Whether the page that was asked for is open now: it answers, and does not lead back here. */
async function isOpen(path) {
  const answer = await fetch(path, { headers: { Accept: "text/html" }, redirect: "manual" });
  return answer.ok;
}

/** The page to go to by itself; "" where the form is what was wanted. */
async function ahead() {
  const path = document.querySelector('input[name="next"]').value || "./";
  const led = next !== null && about().auth && byId("sentence").hidden;
  return led && (await isOpen(path)) ? path : "";
}

const path = await ahead().catch(() => "");
if (path) {
  location.replace(path);
}
