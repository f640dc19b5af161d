// Questions and orders to the server, by the paths that docs/rest.md has, relative to the page.

/** What the server refused, in its own words; `status` is 0 where it could not be reached. */
export class Refusal extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/**
 * The JSON that the server answers.
 *
 * @param {string} method
 * @param {string} path relative to the page, its parts percent-encoded
 * @param {object} [body] sent as JSON
 * @throws {Refusal}
 */
export async function ask(method, path, body) {
  // So a browser whose login has ended is not told to ask for a password in a window of its own.
  const headers = { Accept: "application/json", "X-Requested-With": "XMLHttpRequest" };
  const options = { method, headers, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refusal("the server cannot be reached", 0);
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Refusal(found.error ?? `the server answered ${answer.status}`, answer.status);
  }
  return found;
}

/** A server's error as a sentence of a page: errors begin small and end without a full stop. */
export function sentenceOf(text) {
  const words = String(text);
  return `${words.slice(0, 1).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
}
