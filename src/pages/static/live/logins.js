// Where one is logged in on a page, and an end to it; for admins everybody's.

import { ask, sentenceOf } from "../shared/ask.js";
import { byId, element } from "../shared/dom.js";
import { date } from "./format.js";

/** Fill the list when somebody opens it. */
export function offerLogins() {
  byId("logins-more").addEventListener("toggle", ({ target }) => target.open && list());
}

async function list() {
  try {
    const rows = await ask("GET", "sessions/");
    byId("logins").replaceChildren(...rows.map(rowOf));
    fail("");
  } catch (error) {
    fail(error.message);
  }
}

function rowOf({ id, user, address, begun, seen, current }) {
  const label = `End the login of ${user}`;
  const attributes = { type: "button", class: "plain bad", "aria-label": label, onclick: () => finish(id) };
  const end = element("button", attributes, "End");
  return element(
    "li",
    {},
    element("span", {}, element("strong", {}, user), `${address} · since ${date(begun)} · last seen ${date(seen)}`),
    current ? element("span", { class: "quiet" }, "this one") : end,
  );
}

async function finish(id) {
  try {
    await ask("DELETE", `sessions/${encodeURIComponent(id)}`);
    await list();
  } catch (error) {
    fail(error.message);
  }
}

function fail(text) {
  const place = byId("logins-error");
  place.hidden = !text;
  place.textContent = text && sentenceOf(text);
}
