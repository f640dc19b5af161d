// The line for a shell that asks what the page would ask.

import { about } from "../shared/dom.js";
import { PICTURE } from "./fields.js";

/** A word as a shell takes it. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * @param {string} method
 * @param {string} address
 * @param {{login: boolean, file: string, text: string}} sent  whether a login is taken; the name of the picture that is
 *   the body, or the text that is
 */
export function curl(method, address, { login, file, text }) {
  const words = ["curl"];
  const { user, auth } = about();
  if (login && (user || auth)) {
    words.push("-u", user ?? "NAME"); // it asks for the password
  }
  const body = Boolean(file || text);
  if (method !== (body ? "post" : "get")) {
    words.push("-X", method.toUpperCase());
  }
  if (file) {
    words.push("--data-binary", `@${file}`);
  } else if (text) {
    words.push("-H", "Content-Type: application/json", "--data", text.includes(PICTURE) ? "@request.json" : text);
  }
  return [...words, address].map(quoted).join(" ");
}
