/**
 * A camera at work, from Start to its end.
 *
 *               the camera is open        the server lets it in
 *     OPENING ───────────► CONNECTING ──────────────────────► RUNNING ◄──────────► PAUSED (the page is not in sight)
 *                              ▲  the connection is lost         │                    │
 *                              └─────────────────────────────────┴────────────────────┘
 *     ENDED: from everywhere, with a sentence where it was not Stop
 */

import { Ending, SocketIO } from "../shared/socketio.js";
import { Capture } from "./capture.js";
import { opened, TAKEN_AWAY } from "./devices.js";
import { Pictures, Session } from "./protocols.js";
import { Sending } from "./sending.js";

export const RunState = Object.freeze({
  OPENING: "opening",
  CONNECTING: "connecting",
  RUNNING: "running",
  PAUSED: "paused",
  ENDED: "ended",
});

const TURNED_OUT = "The server ended this connection: somebody there disconnected this camera. Press Start to go on.";

export class Run {
  #choices;
  #shown;
  #state = RunState.OPENING;
  #socket;
  #protocol;
  #capture;
  #sending;
  #turnedOut = false; // it connects once more only to hear why
  #network = networkType();
  #listeners = new AbortController();

  /**
   * @param {HTMLVideoElement} video
   * @param {{camera: string, size: number[], rate: number, kind: string, model: string, name: string}} choices a `rate`
   *   of 0 is as fast as answers come; a `kind` of 'session' is one
   * @param {object} shown is told: `state(state, sentence, refused)`, `note(sentence)`, `answer(prediction, age)`
   */
  constructor(video, choices, shown) {
    this.#choices = choices;
    this.#shown = shown;
    this.#capture = new Capture(video, { frame: (...times) => this.#sending.frame(...times), ended: () => this.#takenAway() });
    this.#sending = new Sending(choices, this.#capture, shown);
    this.#socket = this.#newSocket();
    this.#protocol = this.#sending.protocol =
      choices.kind === "session"
        ? new Session(this.#socket, this.#sending)
        : new Pictures(this.#socket, choices.model, this.#sending);
    this.#listen();
  }

  get state() {
    return this.#state;
  }

  /** How many frames were sent, and what became of them. */
  get counts() {
    return this.#sending.counts;
  }

  /** Frames a second that may be sent now, and their quality from 0 to 1. */
  get pace() {
    return this.#sending.pace;
  }

  /** Open the camera, then connect. */
  async start() {
    this.#change(RunState.OPENING, "Opening the camera …");
    if (await this.#openCamera()) {
      this.#change(RunState.CONNECTING, "Connecting …");
      this.#socket.open();
    }
  }

  /** End it. */
  stop() {
    this.#end("");
  }

  #newSocket() {
    const { name } = this.#choices;
    const socket = new SocketIO({ query: name ? { name } : {}, auth: { page: true } });
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", (ending) => this.#disconnected(ending));
    socket.on("connect_error", (sentence) => this.#end(sentence, true));
    socket.on("retry", (seconds) => this.#waits(seconds));
    return socket;
  }

  #listen() {
    const options = { signal: this.#listeners.signal };
    document.addEventListener("visibilitychange", () => this.#seen(), options);
    window.addEventListener("online", () => this.#socket.retry(), options);
    navigator.connection?.addEventListener("change", () => this.#networkChanged(), options);
  }

  /** Whether the camera is open, and wanted still. */
  async #openCamera() {
    try {
      const stream = await opened(this.#choices.camera, this.#choices.size);
      if (this.#state === RunState.ENDED) {
        stream.getTracks().forEach((track) => track.stop());
        return false;
      }
      await this.#capture.show(stream);
      return this.#state !== RunState.ENDED;
    } catch (error) {
      this.#end(error.message);
      return false;
    }
  }

  // What happens with the connection.

  async #connected() {
    if (this.#turnedOut) {
      this.#end(TURNED_OUT);
    } else {
      await this.#begin(true);
    }
  }

  /** Let frames go out. `isNew`: on a connection that has just begun, else after a pause. */
  async #begin(isNew) {
    try {
      await this.#protocol.begin(isNew);
      this.#change(RunState.RUNNING, "");
      this.#pauseWhileHidden();
    } catch (error) {
      if (this.#socket.isOpen) {
        this.#end(error.message); // else it was lost meanwhile, and begins again with the next one
      }
    }
  }

  #disconnected(ending) {
    this.#sending.lost();
    this.#change(RunState.CONNECTING, "The connection is lost: connecting again …");
    if (ending === Ending.TURNED_OUT) {
      this.#turnedOut = true;
      this.#socket.open();
    }
  }

  #waits(seconds) {
    const why = navigator.onLine ? "The server does not answer" : "This device has no network";
    this.#change(RunState.CONNECTING, `${why}: trying again in ${Math.max(1, Math.round(seconds))} s`);
  }

  /** From Wi-Fi to mobile, say: what was connected is dead, and nobody says so. */
  #networkChanged() {
    const before = this.#network;
    this.#network = networkType();
    if (this.#network !== before) {
      this.#socket.retry();
    }
  }

  // What happens with the page and the camera.

  async #seen() {
    this.#pauseWhileHidden();
    const wanted = !document.hidden && this.#state !== RunState.OPENING;
    if (wanted && (this.#capture.isOpen || (await this.#openCamera())) && this.#state === RunState.PAUSED) {
      this.#change(RunState.CONNECTING, "Going on …"); // so that it begins once, however often it comes into sight
      await this.#begin(false);
    }
  }

  #pauseWhileHidden() {
    if (document.hidden && this.#state === RunState.RUNNING) {
      this.#protocol.end();
      this.#change(RunState.PAUSED, "Paused while this page is not in sight");
    }
  }

  #takenAway() {
    if (!document.hidden) {
      this.#end(TAKEN_AWAY); // else the phone was locked: it is opened again when the page is back in sight
    }
  }

  // Its states.

  #end(sentence, refused = false) {
    if (this.#state === RunState.RUNNING) {
      this.#protocol.end();
    }
    this.#listeners.abort();
    this.#capture.close();
    this.#socket.close();
    this.#sending.lost();
    this.#change(RunState.ENDED, sentence, refused);
  }

  /** The one place that changes the state. */
  #change(state, sentence, refused = false) {
    if (this.#state !== RunState.ENDED) {
      this.#state = state;
      this.#sending.running = state === RunState.RUNNING;
      this.#shown.state(state, sentence, refused);
    }
  }
}

/** The kind of network where a browser tells it; its speed alone may change all the time. */
function networkType() {
  return navigator.connection?.type;
}
