/** Keeps the screen on while it is wanted and the page is in sight: a phone that locks itself is no camera. */

export class WakeLock {
  #wanted = false;
  #lock = null;

  constructor() {
    document.addEventListener("visibilitychange", () => this.#ask());
  }

  /** Say whether it is wanted. */
  want(wanted) {
    this.#wanted = wanted;
    this.#ask();
  }

  async #ask() {
    if (!this.#wanted || document.hidden) {
      const lock = this.#lock;
      this.#lock = null;
      await lock?.release();
    } else if (!this.#lock && navigator.wakeLock) {
      try {
        this.#lock = await navigator.wakeLock.request("screen");
      } catch {
        // On a low battery, say: then the screen goes dark as always.
      }
    }
  }
}
