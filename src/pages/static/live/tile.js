// A stream on the live page: its newest frame with what the model found, and how well it keeps up.

import { Curve } from "../shared/curve.js";
import { element, say } from "../shared/dom.js";
import { draw } from "../shared/overlay.js";
import { numbersInWords, withInput } from "../shared/words.js";
import { age, number, seconds } from "./format.js";
import { Values } from "./values.js";

const DROPS_OVER = 10_000; // milliseconds over which the share of dropped frames is counted
const SILENT = 3000; // milliseconds without a frame that are worth a word

export class Tile {
  /**
   * @param {object} row of the stream, as /streams/ has it
   * @param {((row: object) => void)|null} steer called when somebody wants to change it; null where nobody here may
   */
  constructor(row, steer) {
    this.row = row;
    this.last = null;
    this.inSight = false;
    this.drops = [];
    this.picture = element("canvas");
    this.overlay = element("canvas", { class: "overlay", "aria-hidden": "true" });
    this.note = element("span", { class: "note" });
    this.view = element(
      "button",
      { type: "button", class: "view", "aria-pressed": "false", onclick: () => this.enlarge() },
      this.picture, this.overlay, this.note,
    );
    this.title = element("h3");
    this.origin = element("p", { class: "quiet small origin" });
    this.found = element("p", { class: "found" });
    this.makeFigures();
    const attributes = { type: "button", class: "plain", onclick: () => steer(this.row) };
    const change = steer && element("button", attributes, "Change");
    this.change = change;
    this.place = element(
      "li",
      { class: "tile card" },
      element("div", { class: "head" }, element("div", {}, this.title, this.origin), change),
      this.view, this.found, this.figures,
    );
    this.place.dataset.id = row.id;
  }

  makeFigures() {
    const curve = element("canvas", { class: "curve" });
    this.ages = new Curve(curve, { seconds: 60, unit: "milliseconds" });
    this.ages.hide(true);
    this.incoming = element("dd", { class: "figure" });
    this.answered = element("dd", { class: "figure" });
    this.age = element("span", { class: "figure" });
    this.dropped = element("dd", { class: "figure" });
    const pair = (name, figure) => element("div", {}, element("dt", {}, name), figure);
    this.figures = element(
      "dl",
      { class: "figures" },
      pair("In", this.incoming), pair("Answered", this.answered), pair("Dropped", this.dropped),
      element("div", { class: "wide" }, element("dt", {}, "Age"), element("dd", {}, this.age, curve)),
    );
    this.values = null;
  }

  /** Show a row of the server's state at a moment of its clock. */
  update(row, at) {
    this.row = row;
    const name = row.name || row.id;
    say(this.title, name);
    const user = [name, row.id].includes(row.user) ? "" : row.user;
    const where = row.front_end && `front end ${row.front_end}`;
    say(this.origin, [user, row.protocol, row.model, where].filter(Boolean).join(" · "));
    if (this.change) {
      this.change.hidden = Boolean(row.far); // it can be changed where it is
    }
    say(this.incoming, `${number(row.fps_in)}/s`);
    say(this.answered, `${number(row.fps_answered)}/s`);
    say(this.age, age(row.age_ms));
    say(this.dropped, `${number(this.shareDropped(row, at) * 100)} %`);
    this.change?.setAttribute("aria-label", `Change ${name}`);
    this.ages.add(row.fps_answered > 0 ? row.age_ms : null, at);
    this.view.hidden = this.found.hidden = row.kind === "session" && !this.last; // the models' values say it all
    if (row.kind === "session") {
      this.showValues(row.values ?? {}, at);
    }
    this.say(at);
  }

  showValues(values, at) {
    if (!this.values) {
      this.values = new Values();
      this.values.hide(!this.inSight);
      this.place.append(this.values.place);
    }
    this.values.update(values, at);
  }

  /** What was found, and what is wrong, in words. */
  say(at) {
    const { prediction = {}, error = "", shown = true, type = "" } = this.last ?? {};
    const silent = this.row.kind === "stream" && at - prediction.timestamp > SILENT;
    let note = silent ? `last frame ${seconds((at - prediction.timestamp) / 1000)} ago` : "";
    if (!this.last) {
      note = this.row.fps_in > 0 ? "" : "no frame yet";
    } else if (error) {
      note = error;
    } else if (!shown) {
      note = type ? `browsers cannot show ${type}` : "this frame was no picture";
    }
    say(this.note, note);
    const found = foundIn(prediction);
    say(this.found, found);
    const name = this.row.name || this.row.id;
    this.view.setAttribute("aria-label", `${name}: ${[note, found].filter(Boolean).join(", ") || "picture"}. Enlarge`);
  }

  /** Of the frames that came of late, how many were replaced by newer ones before they ran: 0 to 1. */
  shareDropped({ dropped, fps_in: incoming }, at) {
    this.drops.push({ at, dropped });
    while (this.drops.length > 2 && this.drops[1].at <= at - DROPS_OVER) {
      this.drops.shift();
    }
    const first = this.drops[0];
    const passed = (at - first.at) / 1000;
    const rate = passed > 0 ? (dropped - first.dropped) / passed : 0;
    return rate > 0 ? Math.min(1, rate / Math.max(incoming, rate)) : 0;
  }

  /** Draw a frame of it; resolves once it is drawn. */
  async show(frame) {
    this.last = frame;
    frame.shown = await this.paint(frame);
    if (this.last === frame) {
      draw(this.overlay, frame.error ? null : frame.prediction);
    }
  }

  /** Draw the picture upright, as large as there is room; false where it is none that browsers know. */
  async paint({ picture, rotate = 0 }) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(picture);
    } catch {
      return false;
    }
    const { clientWidth, clientHeight } = this.picture;
    const ratio = window.devicePixelRatio || 1;
    this.picture.width = Math.round(clientWidth * ratio);
    this.picture.height = Math.round(clientHeight * ratio);
    const context = this.picture.getContext("2d");
    const { width, height } = bitmap;
    const [across, down] = rotate % 180 ? [height, width] : [width, height];
    const scale = Math.min(this.picture.width / across, this.picture.height / down);
    context.translate(this.picture.width / 2, this.picture.height / 2);
    context.rotate((rotate * Math.PI) / 180);
    context.drawImage(bitmap, (-width * scale) / 2, (-height * scale) / 2, width * scale, height * scale);
    bitmap.close();
    return true;
  }

  /** Whether it can be seen now: what cannot be is not drawn. */
  see(yes) {
    this.inSight = yes;
    this.ages.hide(!yes);
    this.values?.hide(!yes);
  }

  enlarge() {
    const large = this.place.classList.toggle("large");
    this.view.setAttribute("aria-pressed", String(large));
  }

  /** Its room has another size. */
  async resized() {
    if (this.last && this.inSight) {
      await this.show(this.last);
    }
  }
}

/** The best answer in words: `7, 98 %`, `2 faces`. */
function foundIn({ label, score, boxes, embedding, values, input }) {
  if (embedding || values) {
    return numbersInWords({ embedding, values });
  }
  if (Array.isArray(boxes) && boxes.length > 1) {
    return `${label ?? "found"} × ${boxes.length}`;
  }
  if (label === undefined || label === null) {
    return "";
  }
  const sure = Number.isFinite(score) && label !== "none" ? `, ${Math.round(score * 100)} %` : "";
  return withInput(`${label}${sure}`, input);
}
