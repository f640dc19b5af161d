/**
 * How many frames a second are sent, and how finely they are compressed, by the age of their answers.
 *
 * Additive increase, multiplicative decrease, as TCP does it (RFC 5681); what an answer takes while nothing waits is
 * the least age of the last half minute (as in LEDBAT, RFC 6817). Pure: times are given, in milliseconds.
 */

const WINDOW = 15000; // the least age is that of this window and the one before
const SMOOTHING = 0.25; // what one age counts for
const GROWN = 1.25; // times the least age, and
const SLACK = 30; // milliseconds more: what an age may have; frames that wait for one another have twice the least
const SLOWER = 0.7; // times the rate
const COARSER = 0.1; // off the quality
const HOLD = 700; // milliseconds, or twice the age, until a decrease shows
const RECOVERY = 12; // seconds from nothing to the full rate
const FINER = 0.03; // on the quality, in a second

export class Adapting {
  #most;
  #least;
  #finest;
  #coarsest;
  #age = null;
  #window = { begun: 0, least: Infinity };
  #before = Infinity; // the least age of the window before
  #seen = null; // when the last answer came
  #lowered = -Infinity;

  /** @param {{most: number, least?: number, finest?: number, coarsest?: number}} bounds of rate and quality */
  constructor({ most, least = 1, finest = 0.85, coarsest = 0.4 }) {
    this.#most = most;
    this.#least = Math.min(least, most);
    this.#finest = finest;
    this.#coarsest = coarsest;
    this.rate = most; // frames a second
    this.quality = finest; // of a JPEG, 0 to 1
  }

  /** The smoothed age in milliseconds; null before the first answer. */
  get age() {
    return this.#age;
  }

  /** An answer has come `age` milliseconds after its frame was taken. */
  answered(age, now) {
    this.#noteLeast(age, now);
    this.#take(age, now);
  }

  /** There is no answer, which counts like one of that age. */
  unanswered(age, now) {
    this.#take(age, now);
  }

  #take(age, now) {
    this.#age = this.#age === null ? age : this.#age + (age - this.#age) * SMOOTHING;
    const passed = this.#seen === null ? 0 : Math.min(now - this.#seen, 1000) / 1000;
    this.#seen = now;
    if (this.#age <= this.#bearable()) {
      this.rate = Math.min(this.#most, this.rate + (this.#most / RECOVERY) * passed);
      this.quality = Math.min(this.#finest, this.quality + FINER * passed);
    } else if (now - this.#lowered >= Math.max(HOLD, 2 * this.#age)) {
      this.rate = Math.max(this.#least, this.rate * SLOWER);
      this.quality = Math.max(this.#coarsest, this.quality - COARSER);
      this.#lowered = now;
    }
  }

  #bearable() {
    const least = Math.min(this.#window.least, this.#before);
    return GROWN * (least === Infinity ? 0 : least) + SLACK;
  }

  #noteLeast(age, now) {
    if (now - this.#window.begun >= WINDOW) {
      this.#before = this.#window.least;
      this.#window = { begun: now, least: age };
    }
    this.#window.least = Math.min(this.#window.least, age);
  }
}
