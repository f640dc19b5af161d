/**
 * A client of Socket.IO 5 over Engine.IO 4, over a WebSocket alone, that comes back by itself.
 *
 *     const socket = new SocketIO({ query: { name: 'front door' }, auth: { page: true } });
 *     socket.on('connect', () => …);               // each time that the server has let it in
 *     socket.on('disconnect', (end) => …);         // it was in, and is no more: one of Ending
 *     socket.on('connect_error', (sentence) => …); // the server does not let it in, and it tries no more
 *     socket.on('retry', (seconds) => …);          // no network, or no server: the next try is in so many seconds
 *     socket.on('prediction', (text) => …);        // an event of the server's
 *     socket.open();
 *     socket.emit('receiveImage', blob);           // bytes (ArrayBuffer, Uint8Array, Blob) go as attachments
 *     const answer = await socket.call('configure', { model: 'lenet' }); // its acknowledgement
 *
 *             open                 the server's CONNECT
 *     CLOSED ──────► OPENING ────────────────────────► OPEN
 *       ▲             ▲  │ lost                          │ lost
 *       │      pause  │  ▼                               │
 *       │             WAITING ◄──────────────────────────┘
 *       └── from everywhere: close, CONNECT_ERROR, the server's DISCONNECT
 */

const OPEN = "0", CLOSE = "1", PING = "2", PONG = "3", MESSAGE = "4"; // packets of Engine.IO
const CONNECT = "0", DISCONNECT = "1", EVENT = "2", ACK = "3", CONNECT_ERROR = "4"; // packets of Socket.IO
const BINARY_EVENT = "5", BINARY_ACK = "6";
const PACKET = /^(\d)(?:(\d+)-)?(?:\/[^,]*,)?(\d+)?(.*)$/s; // kind, attachments, acknowledgement, JSON

const FIRST_PAUSE = 0.5; // seconds; each further one is twice as long, half to one and a half times
const LONGEST_PAUSE = 10;
const LASTED = 10; // seconds after which a connection that is lost was a good one: the pauses begin anew
const OPEN_WITHIN = 20; // seconds

const SocketState = Object.freeze({ CLOSED: "closed", OPENING: "opening", OPEN: "open", WAITING: "waiting" });

/** How a connection ended: by the network, after which it comes back by itself; or because the server wanted it. */
export const Ending = Object.freeze({ LOST: "lost", TURNED_OUT: "turned out" });

export class SocketIO {
  #path;
  #query;
  #auth;
  #random;
  #handlers = new Map();
  #calls = new Map(); // acknowledgements that are waited for, by their numbers
  #number = 0;
  #socket = null;
  #incoming = new Incoming();
  #patience = OPEN_WITHIN; // seconds of silence that are the end
  #timer = null; // of the silence, or of the pause before the next try: never both
  #failures = 0;
  #since = 0;
  #state = SocketState.CLOSED;

  /**
   * @param {{path?: string, query?: object, auth?: object, random?: function(): number}} options where the server is,
   *   relative to the page; what the handshake asks, and what the CONNECT says; a number from 0 to 1
   */
  constructor({ path = "socket.io/", query = {}, auth = {}, random = Math.random } = {}) {
    this.#path = path;
    this.#query = query;
    this.#auth = auth;
    this.#random = random;
  }

  /** Whether events can be sent. */
  get isOpen() {
    return this.#state === SocketState.OPEN;
  }

  /** Call `handler` with an event's arguments; each event has one. */
  on(event, handler) {
    this.#handlers.set(event, handler);
  }

  /** Connect, and stay connected. */
  open() {
    if (this.#state === SocketState.CLOSED) {
      this.#failures = 0;
      this.#dial();
    }
  }

  /** End it for good; nothing is told of that. */
  close() {
    this.#hangUp(SocketState.CLOSED);
  }

  /** Try at once: the network is another one, and what there was may be dead without knowing. */
  retry() {
    if (this.#state !== SocketState.CLOSED) {
      const before = this.#hangUp(SocketState.WAITING);
      this.#dial();
      this.#end(before, Ending.LOST);
    }
  }

  /** Send an event; false when there is no connection. */
  emit(event, ...values) {
    return this.#send("", [event, ...values]);
  }

  /** Send an event; a promise of its acknowledgement, which is broken with the connection. */
  call(event, ...values) {
    return new Promise((resolve, reject) => {
      this.#number += 1;
      if (this.#send(this.#number, [event, ...values])) {
        this.#calls.set(String(this.#number), { resolve, reject });
      } else {
        reject(new Error("there is no connection"));
      }
    });
  }

  #dial() {
    const url = new URL(this.#path, document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = new URLSearchParams({ ...this.#query, EIO: "4", transport: "websocket" });
    this.#state = SocketState.OPENING;
    this.#patience = OPEN_WITHIN;
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => this.#message(data);
    this.#socket.onclose = () => this.#lose();
    this.#watch();
  }

  /** From here on silence is borne for so long: the server sends a PING before. */
  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lose(), this.#patience * 1000);
  }

  /** Take a packet of Engine.IO; binary ones are attachments. */
  #message(data) {
    const [kind, rest] = typeof data === "string" ? [data[0], data.slice(1)] : [MESSAGE, data];
    if (kind === OPEN) {
      const { pingInterval, pingTimeout } = JSON.parse(rest);
      this.#patience = (pingInterval + pingTimeout) / 1000;
      this.#watch();
      this.#socket.send(MESSAGE + CONNECT + JSON.stringify(this.#auth));
    } else if (kind === PING) {
      this.#socket.send(PONG + rest);
      this.#watch();
    } else if (kind === CLOSE) {
      this.#lose();
    } else if (kind === MESSAGE) {
      const packet = this.#incoming.add(rest);
      if (packet) {
        this.#take(packet);
      }
    }
  }

  /** Take a packet of Socket.IO. */
  #take({ type, number, data }) {
    if (type === CONNECT) {
      this.#state = SocketState.OPEN;
      this.#since = performance.now();
      this.#tell("connect");
    } else if (type === DISCONNECT) {
      this.#end(this.#hangUp(SocketState.CLOSED), Ending.TURNED_OUT);
    } else if (type === CONNECT_ERROR) {
      this.#hangUp(SocketState.CLOSED);
      this.#tell("connect_error", data?.message ?? "the server does not let this page in");
    } else if (type === EVENT || type === BINARY_EVENT) {
      this.#tell(...data);
    } else if (type === ACK || type === BINARY_ACK) {
      this.#calls.get(number)?.resolve(data[0]);
      this.#calls.delete(number);
    }
  }

  #send(number, values) {
    if (!this.isOpen) {
      return false;
    }
    encode(number, values).forEach((message) => this.#socket.send(message));
    return true;
  }

  /** Lost: wait a while that grows and is scattered, so that not all come back to a server at once, and try again. */
  #lose() {
    const before = this.#hangUp(SocketState.WAITING);
    const lasted = before === SocketState.OPEN && performance.now() - this.#since > LASTED * 1000;
    this.#failures = lasted ? 0 : this.#failures;
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures) * (0.5 + this.#random());
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#dial(), pause * 1000);
    this.#end(before, Ending.LOST);
    if (this.#state === SocketState.WAITING) {
      this.#tell("retry", pause);
    }
  }

  /** Let go of the WebSocket, and of all that was waited for on it; returns the state that was. */
  #hangUp(state) {
    const [before, socket] = [this.#state, this.#socket];
    clearTimeout(this.#timer);
    this.#state = state;
    this.#socket = null;
    this.#incoming = new Incoming();
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    calls.forEach(({ reject }) => reject(new Error("the connection ended")));
    return before;
  }

  #end(before, ending) {
    if (before === SocketState.OPEN) {
      this.#tell("disconnect", ending);
    }
  }

  #tell(event, ...values) {
    this.#handlers.get(event)?.(...values);
  }
}

/** Puts packets of Socket.IO together with their attachments, which come behind them. */
class Incoming {
  #packet = null;

  /** Take a message; returns the packet that is whole with it, or null. */
  add(message) {
    if (typeof message === "string") {
      const [, type, count, number, json] = PACKET.exec(message);
      this.#packet = { type, number, json, left: Number(count ?? 0), attachments: [] };
    } else {
      this.#packet.attachments.push(message);
      this.#packet.left -= 1;
    }
    const { type, number, json, left, attachments } = this.#packet;
    const filled = (_key, value) => (value?._placeholder === true ? attachments[value.num] : value);
    return left ? null : { type, number, data: json ? JSON.parse(json, filled) : null };
  }
}

/** The messages of an event: its packet, then the bytes among its arguments. `number`: to acknowledge it by, or ''. */
function encode(number, values) {
  const attachments = [];
  const placed = (_key, value) =>
    isBinary(value) ? { _placeholder: true, num: attachments.push(value) - 1 } : value;
  const json = JSON.stringify(values, placed);
  const type = attachments.length ? `${BINARY_EVENT}${attachments.length}-` : EVENT;
  return [`${MESSAGE}${type}${number}${json}`, ...attachments];
}

function isBinary(value) {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;
}
