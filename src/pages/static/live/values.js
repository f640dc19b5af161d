// What the models of a session say, each value as a figure with a curve of its last two minutes.

import { Curve } from "../shared/curve.js";
import { element, say } from "../shared/dom.js";
import { number } from "./format.js";

const MOST = 12;
const WINDOW = 120;

/** Values that shipped models give, by what people call them. */
const NAMES = {
  HR: ["Heart rate", "bpm"],
  HR_quality: ["Quality", ""],
  HR_window_s: ["Window", "s"],
  blinks_per_minute: ["Blinks", "a minute"],
  fatigue: ["Fatigue", ""],
};

/** Those that say how sure another one is: a figure is enough. */
const WITHOUT_CURVE = new Set(["HR_quality", "HR_window_s"]);

export class Values {
  constructor() {
    this.place = element("dl", { class: "values" });
    this.rows = new Map();
    this.hidden = true;
  }

  /** Show these values of a moment in milliseconds. What is not among them any more has no value now. */
  update(values, at) {
    for (const name of Object.keys(values).slice(0, MOST)) {
      if (!this.rows.has(name) && this.rows.size < MOST) {
        this.add(name, values[name]);
      }
    }
    for (const [name, row] of this.rows) {
      const value = values[name];
      say(row.figure, shown(value, row.unit));
      row.curve?.add(typeof value === "number" ? value : null, at);
    }
  }

  add(name, value) {
    const [title, unit] = NAMES[name] ?? [name.replaceAll("_", " "), ""];
    const figure = element("span", { class: "figure" });
    const row = { figure, unit, curve: null };
    const canvas = typeof value === "number" && !WITHOUT_CURVE.has(name) && element("canvas", { class: "curve" });
    if (canvas) {
      row.curve = new Curve(canvas, { seconds: WINDOW, unit, from: null });
      row.curve.hide(this.hidden);
    }
    this.rows.set(name, row);
    this.place.append(element("div", { class: "value" }, element("dt", {}, title), element("dd", {}, figure, canvas)));
  }

  /** Whether its tile is out of sight. */
  hide(yes) {
    this.hidden = yes;
    for (const row of this.rows.values()) {
      row.curve?.hide(yes);
    }
  }
}

function shown(value, unit) {
  if (value === undefined || value === null) {
    return "–";
  }
  if (typeof value === "boolean") {
    return value ? "yes" : "no";
  }
  return typeof value === "number" ? `${number(value)} ${unit}`.trim() : String(value);
}
