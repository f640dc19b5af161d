// What models say that is neither a label nor a box, in a line.

/** Of an answer whose `input` is "unlike": its label says nothing of such a picture. */
export const UNLIKE = "unlike its training pictures";

const MOST = 6; // values that are told: a line has no room for more

/**
 * `age 31.5, height 1.74`; `a vector of 512 numbers`.
 *
 * @param {{embedding?: number[], values?: Object<string, number>}} prediction docs/models.md has its shape
 */
export function numbersInWords({ embedding, values }) {
  if (Array.isArray(embedding)) {
    return `a vector of ${embedding.length} numbers`;
  }
  const told = Object.entries(values && typeof values === "object" ? values : {}).slice(0, MOST);
  return told.map(([name, value]) => `${name.slice(0, 60)} ${value}`).join(", ");
}

/** `unlike its training pictures: pneumonia, 72 %`, where an answer says so of its input; else the words as they are. */
export function withInput(words, input) {
  return input === "unlike" ? [UNLIKE, words].filter(Boolean).join(": ") : words;
}
