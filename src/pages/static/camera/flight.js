/** Which frames are on their way, and what became of the others. Pure: times are given, in milliseconds. */

export const MOST = 2; // frames in flight
const PATIENCE = 5000; // after which nobody waits for an answer any more

export class Flight {
  #waiting = new Map(); // when each frame was taken, by its key, in the order they were sent

  constructor() {
    this.counts = { sent: 0, answered: 0, replaced: 0, refused: 0, unanswered: 0 };
  }

  /** Whether one more may be sent. */
  get hasRoom() {
    return this.#waiting.size < MOST;
  }

  /** A frame that was taken at `at` goes out; answers name it by `key`. */
  sent(key, at) {
    this.#waiting.set(key, at);
    this.counts.sent += 1;
  }

  /**
   * The answer to a frame has come: those sent before it were replaced by newer ones, since answers come in order.
   *
   * @returns {number|null} its age; null for one that nobody waits for any more, and that is not to be shown
   */
  answered(key, now) {
    const at = this.#waiting.get(key);
    if (at === undefined) {
      return null;
    }
    for (const each of this.#waiting.keys()) {
      this.#waiting.delete(each);
      if (each === key) {
        break;
      }
      this.counts.replaced += 1;
    }
    this.counts.answered += 1;
    return now - at;
  }

  /** A frame was refused; whether it was one that is waited for. */
  refused(key) {
    const waited = this.#waiting.delete(key);
    this.counts.refused += waited ? 1 : 0;
    return waited;
  }

  /** Give those up that have waited too long; returns how long each. */
  expire(now) {
    const late = [...this.#waiting].filter(([, at]) => now - at >= PATIENCE);
    late.forEach(([key]) => this.#waiting.delete(key));
    this.counts.unanswered += late.length;
    return late.map(([, at]) => now - at);
  }

  /** The connection ended: no answer comes any more. */
  lost() {
    this.counts.unanswered += this.#waiting.size;
    this.#waiting.clear();
  }
}
