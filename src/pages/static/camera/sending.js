/** Which frames of a camera go out, and what becomes of them. */

import { Adapting } from "./adapting.js";
import { Flight } from "./flight.js";

const FASTEST = 60; // frames a second, where no rate is chosen: the answers say how fast it is
/** A pulse is not seen in fewer frames, nor through strong compression (models/pulse/README.md). */
const SESSION = { least: 5, finest: 0.9, coarsest: 0.65 };
const REFUSED = 1000; // milliseconds: as what age a refusal counts, so that they become fewer

export class Sending {
  #choices;
  #capture;
  #shown;
  #flight = new Flight();
  #adapting;
  #due = 0; // when the next frame may go out
  #encoding = false;

  /** The arguments are those of Run, and the Capture whose frames they are. */
  constructor(choices, capture, shown) {
    this.#choices = choices;
    this.#capture = capture;
    this.#shown = shown;
    this.#adapting = new Adapting({ most: choices.rate || FASTEST, ...(choices.kind === "session" ? SESSION : {}) });
    this.protocol = null;
    this.running = false;
  }

  get counts() {
    return this.#flight.counts;
  }

  /** Frames a second that may be sent now, and their quality from 0 to 1. */
  get pace() {
    return { rate: this.#adapting.rate, quality: this.#adapting.quality };
  }

  /** The camera has a new frame, which it took at `taken`: send it, if one is due and there is room for it. */
  async frame(now, taken) {
    this.#flight.expire(now).forEach((waited) => this.#adapting.unanswered(waited, now));
    if (!this.running || this.#encoding || !this.#flight.hasRoom || now < this.#due) {
      return;
    }
    const { rate, quality } = this.#adapting;
    this.#due = Math.max(this.#due, now - 1000 / rate) + 1000 / rate;
    this.#encoding = true;
    const jpeg = await this.#capture.jpeg(this.#choices.size, quality);
    this.#encoding = false;
    if (jpeg && this.running) {
      this.#flight.sent(this.protocol.send(jpeg), taken);
    }
  }

  /** What a model says of the frame with that key; of no frame where the key is undefined. */
  answered(key, prediction) {
    const now = performance.now();
    const age = this.#flight.answered(key, now);
    if (age !== null) {
      this.#adapting.answered(age, now);
      this.#shown.answer(prediction, age);
    }
  }

  /** The frame with that key was refused; another key is of none, and the sentence is of the stream. */
  refused(key, sentence) {
    if (this.#flight.refused(key)) {
      this.#adapting.unanswered(REFUSED, performance.now());
    }
    if (this.running) {
      this.#shown.note(sentence);
    }
  }

  /** The connection ended. */
  lost() {
    this.#flight.lost();
  }
}
