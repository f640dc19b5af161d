/** What a camera's answers say, on the page: over the picture, as figures, as curves. */

import { Curve } from "../shared/curve.js";
import { byId, element, say } from "../shared/dom.js";
import { draw } from "../shared/overlay.js";
import { numbersInWords, withInput } from "../shared/words.js";

const COUNTS = {
  sent: "Sent",
  answered: "Answered",
  replaced: "Replaced by newer ones",
  refused: "Refused",
  unanswered: "Without an answer",
};
const CURVES = {
  age: ["Age of answers", "ms"],
  answers: ["Answers a second", ""],
  rate: ["At most sent a second", ""],
  quality: ["JPEG quality", "%"],
};
/** What sessions' models say over time: the key of a prediction, its title, its unit, its digits. */
const VALUES = {
  HR: ["Heart rate, beats a minute", "a minute", 0],
  blinks_per_minute: ["Blinks a minute", "a minute", 1],
  fatigue: ["Fatigue, 0 to 1", "", 2],
};
const REASONS = ["HR_reason", "blink_reason"];
const SOON = "The first figures come after about ten seconds. Hold still, in steady light.";
const VALUE_SECONDS = 120;

export class Board {
  #counts;
  #curves = {};
  #values = {};
  #kind = "";
  #before = { answered: 0, at: 0 };

  constructor() {
    this.#counts = Object.fromEntries(Object.keys(COUNTS).map((key) => [key, element("dd", {}, "0")]));
    byId("counts").append(
      ...Object.entries(COUNTS).flatMap(([key, title]) => [element("dt", {}, title), this.#counts[key]]),
    );
    this.begin("pictures");
  }

  /** Begin anew, for a run of this kind. */
  begin(kind) {
    this.#kind = kind;
    this.#before = { answered: 0, at: performance.now() };
    this.#curves = curves(byId("curves"), CURVES, 60);
    this.#values = curves(byId("values"), kind === "session" ? VALUES : {}, VALUE_SECONDS);
    byId("values").hidden = byId("reasons").hidden = kind !== "session";
    byId("answer").hidden = kind === "session";
    say(byId("answer"), "None yet");
    say(byId("reasons"), SOON);
  }

  /** Show what a model says of a frame that was taken `age` milliseconds ago. */
  answer(prediction, age) {
    draw(byId("overlay"), prediction);
    byId("age").hidden = false;
    say(byId("age"), inMilliseconds(age));
    const now = Date.now();
    this.#show("age", age, now, inMilliseconds(age));
    if (this.#kind === "session") {
      this.#tellValues(prediction, now);
    } else {
      say(byId("answer"), inWords(prediction));
    }
  }

  /** Show what became of frames so far, and how many go out. */
  tell({ counts, pace }) {
    for (const [key, cell] of Object.entries(this.#counts)) {
      say(cell, String(counts[key]));
    }
    const at = performance.now();
    const answers = ((counts.answered - this.#before.answered) * 1000) / (at - this.#before.at);
    this.#before = { answered: counts.answered, at };
    const now = Date.now();
    this.#show("answers", answers, now, answers.toFixed(1));
    this.#show("rate", pace.rate, now, pace.rate.toFixed(1));
    this.#show("quality", pace.quality * 100, now, `${Math.round(pace.quality * 100)} %`);
  }

  /** Nothing is shown any more that looks like now. */
  end() {
    draw(byId("overlay"), null);
    byId("age").hidden = true;
  }

  #tellValues(prediction, now) {
    for (const [key, [, , digits]] of Object.entries(VALUES)) {
      if (key in prediction) {
        const value = prediction[key];
        this.#values[key].curve.add(value, now);
        say(this.#values[key].now, Number.isFinite(value) ? value.toFixed(digits) : "–");
      }
    }
    const reasons = REASONS.map((key) => prediction[key]).filter(Boolean);
    const errors = Object.entries(prediction.errors ?? {}).map(([model, sentence]) => `${model}: ${sentence}`);
    const known = Object.keys(VALUES).some((key) => key in prediction);
    say(byId("reasons"), [...new Set([...reasons, ...errors])].join(" · ") || (known ? "" : SOON));
  }

  #show(name, value, now, text) {
    this.#curves[name].curve.add(value, now);
    say(this.#curves[name].now, text);
  }
}

/** Fill a place with empty curves, each by its name with title and unit; returns them, and where the value of each is. */
function curves(place, titles, seconds) {
  const made = {};
  place.replaceChildren(
    ...Object.entries(titles).map(([name, [title, unit]]) => {
      const now = element("span", { class: "now figure" }, "–");
      const canvas = element("canvas", { "aria-label": "no values yet" });
      made[name] = { now, curve: new Curve(canvas, { seconds, unit }) };
      return element("figure", {}, element("figcaption", {}, element("span", {}, title), now), canvas);
    }),
  );
  return made;
}

/** `12 ms`. */
export function inMilliseconds(age) {
  return `${Math.round(age)} ms`;
}

/** What a prediction says in one line: `7, 98 %`; `2 faces` where it has boxes. */
export function inWords({ label, score, boxes, embedding, values, input }) {
  if (embedding || values) {
    return numbersInWords({ embedding, values });
  }
  if (Array.isArray(boxes)) {
    const labels = boxes.map((box) => box.label ?? "something");
    const counted = [...new Set(labels)].map((each) => [labels.filter((other) => other === each).length, each]);
    return counted.map(([count, each]) => `${count} × ${each}`).join(", ") || "Nothing found";
  }
  const sure = Number.isFinite(score) ? `${Math.round(score * 100)} %` : "";
  return withInput([label ?? "No label", sure].filter(Boolean).join(", "), input);
}
