/** A login on a page ends when no request came for `--page-idle`, and a connection is none: so one is made. */

import { about } from "./dom.js";

const EVERY = 45000; // milliseconds; the shortest `--page-idle` is a minute

/**
 * Stay logged in while the page is in use.
 *
 * @param {string} path of the page
 * @param {function(): boolean} isInUse
 */
export function stayLoggedIn(path, isInUse) {
  if (about().auth) {
    setInterval(() => isInUse() && ask(path), EVERY);
  }
}

async function ask(path) {
  try {
    await fetch(path, { method: "HEAD", headers: { Accept: "text/html" }, redirect: "manual" });
  } catch {
    // No network: the page's own connection says so.
  }
}
