/**
 * The client of `/live`: one connection for a page, however much it shows. docs/protocols.md has what is said on it.
 *
 *     const live = new Linked({
 *       hello: ({version, user, roles}) => …,   // connected, again after a restart of the server
 *       state: state => …,                      // once a second: streams, models, server, snippets, trainings
 *       frame: ({id, seq, type, rotate, prediction, error, picture}) => …,   // `picture`: a Blob, or null
 *       event: ({at, kind, text}) => …,         // news
 *       closed: ({sentence, seconds}) => …,     // no connection; the next attempt is made in so many seconds
 *       refused: ({status, sentence}) => …,     // logged out, or without the role: it tries no more
 *     });
 *     live.watch(["id", …]);                    // frames of these, the tiles in sight
 *     live.filter("front");                     // streams whose name, user or id contains it
 *
 * A callback may return a promise. The next round begins when all of those of the last one are kept, so that a page
 * which draws slowly is sent less, and nothing old.
 */

const FIRST_PAUSE = 0.5;
const LONGEST_PAUSE = 15;
/** Seconds. Above it a callback counts as done: a picture that is never drawn must not end the connection. */
const PATIENCE = 5;
/** The server ends a connection with this code when its login holds no longer, or for what the page has said. */
const POLICY_VIOLATION = 1008;

const decoder = new TextDecoder();

/**
 * What a binary message holds: four bytes with the length of the header, the header in JSON, the picture as it came.
 * @param {ArrayBuffer} message
 * @returns {object} the header with `picture`, a Blob; null where the frame was no picture
 */
export function parseFrame(message) {
  const length = new DataView(message).getUint32(0, true);
  const header = JSON.parse(decoder.decode(new Uint8Array(message, 4, length)));
  const bytes = new Uint8Array(message, 4 + length);
  header.picture = bytes.length ? new Blob([bytes], {type: header.type}) : null;
  return header;
}

/** The address of the door as a WebSocket's, relative to the page. */
function socketAddress(address) {
  const url = new URL(address, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

/** Wait until all promises are kept, at most so many seconds. */
async function settled(promises, seconds) {
  let timer;
  const late = new Promise(done => { timer = setTimeout(done, seconds * 1000); });
  await Promise.race([Promise.all(promises), late]);
  clearTimeout(timer);
}

export class Linked {
  #address;
  #callbacks;
  #socket = null;
  #timer = null;
  #pause = FIRST_PAUSE;
  #watched = [];
  #text = "";
  #handling = [];
  #over = false;

  /**
   * @param {object} callbacks by the names of events, all of them optional
   * @param {string} address of the door, relative to the page
   */
  constructor(callbacks, address = "live") {
    this.#callbacks = callbacks;
    this.#address = address;
    document.addEventListener("visibilitychange", this.#seen);
    this.#connect();
  }

  /** Have the frames of these streams sent: those of tiles in sight, at most 64. */
  watch(ids) {
    if (ids.length === this.#watched.length && ids.every((id, index) => id === this.#watched[index])) return;
    this.#watched = [...ids];
    this.#say({watch: this.#watched});
  }

  /** Have only those streams told whose name, user or id contains `text`; "" for all. */
  filter(text) {
    if (text === this.#text) return;
    this.#text = text;
    this.#say({filter: text});
  }

  /** End it for good. */
  close() {
    this.#over = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#seen);
    this.#socket?.close();
  }

  // ---- the connection -----------------------------------------------------------------------------------------------

  #connect() {
    this.#timer = null;
    const socket = new WebSocket(socketAddress(this.#address));
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#handling = [];
    let opened = false;
    socket.addEventListener("open", () => {
      opened = true;
      if (document.hidden) this.#say({pause: true});
      if (this.#text) this.#say({filter: this.#text});
      if (this.#watched.length) this.#say({watch: this.#watched});
    });
    socket.addEventListener("message", event => this.#take(socket, event.data));
    socket.addEventListener("close", event => this.#lost(opened, event));
  }

  #say(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** The connection has ended, or none came about: look whether one is allowed, and try again later. */
  async #lost(opened, {code, reason}) {
    this.#socket = null;
    if (this.#over) return;
    const why = opened && code !== POLICY_VIOLATION ? {} : await this.#look();
    if (this.#over || this.#socket) return;
    if (why.status === 401 || why.status === 403) {
      this.close();
      this.#call("refused", why);
      return;
    }
    const pause = this.#pause * (0.75 + Math.random() / 2);  // so that a hundred pages do not come back at once
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.#call("closed", {sentence: why.sentence || reason || "the server cannot be reached", seconds: pause});
    this.#timer = setTimeout(() => this.#again(), pause * 1000);
  }

  /** Try again, unless nobody looks; then as soon as somebody does. */
  #again() {
    this.#timer = null;
    if (!document.hidden) this.#connect();
  }

  /** What the door says to a plain request: a WebSocket that is refused is not told why. */
  async #look() {
    try {
      const headers = {"X-Requested-With": "XMLHttpRequest"};  // no window of the browser's that asks for a password
      const answer = await fetch(new URL(this.#address, document.baseURI), {headers, cache: "no-store"});
      const {error} = await answer.json();
      return {status: answer.status, sentence: answer.status === 426 ? "" : error};
    } catch {
      return {status: 0, sentence: ""};
    }
  }

  #seen = () => {
    this.#say({pause: document.hidden});
    if (!document.hidden && !this.#socket) {
      clearTimeout(this.#timer);
      this.#pause = FIRST_PAUSE;
      this.#connect();
    }
  };

  // ---- what comes ---------------------------------------------------------------------------------------------------

  #take(socket, data) {
    const message = typeof data === "string" ? JSON.parse(data) : parseFrame(data);
    switch (message.type) {
      case "round":
        this.#answer(socket, message.n);
        break;
      case "hello":
        this.#pause = FIRST_PAUSE;
        this.#call("hello", message);
        break;
      case "state":
      case "event":
        this.#handling.push(this.#call(message.type, message));
        break;
      default:
        this.#handling.push(this.#call("frame", message));
    }
  }

  /** What a callback returns; one that fails is told where errors of pages are, and ends nothing. */
  #call(name, detail) {
    return Promise.resolve(detail).then(this.#callbacks[name]).catch(error => console.error(error));
  }

  /** Say that a round was handled, once it was. */
  async #answer(socket, n) {
    const handling = this.#handling;
    this.#handling = [];
    await settled(handling, PATIENCE);
    if (socket === this.#socket) this.#say({round: n});
  }
}
