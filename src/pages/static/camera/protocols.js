/** The two things that a camera can be, docs/protocols.md: one that streams pictures, and a session of one person. */

/** CamStream: each picture is answered for itself, and a newer one replaces the one that waits. */
export class Pictures {
  #socket;
  #model;
  #seq = 0; // the server counts a connection's frames as well

  /**
   * @param {SocketIO} socket
   * @param {string} model '' for the server's own
   * @param {{answered: function(number, object), refused: function(number, string)}} heard is told of what becomes of
   *   frames, by the keys that `send` gave them
   */
  constructor(socket, model, heard) {
    this.#socket = socket;
    this.#model = model;
    socket.on("prediction", (text) => {
      const prediction = JSON.parse(text);
      heard.answered(prediction.seq, prediction);
    });
    socket.on("frame_error", (text) => {
      const { error, seq } = JSON.parse(text);
      heard.refused(seq, error);
    });
  }

  /** Begin, on a new connection or after `end`. An Error says why that cannot be. */
  async begin(isNew) {
    if (!isNew) {
      return;
    }
    this.#seq = 0;
    if (this.#model) {
      check(await this.#socket.call("configure", { model: this.#model }));
    }
  }

  /** Send a JPEG; returns its key. */
  send(jpeg) {
    this.#seq += 1;
    this.#socket.emit("receiveImage", jpeg);
    return this.#seq;
  }

  /** Nothing has to be ended. */
  end() {}
}

/** A session: the models of the server's `--session-models` remember what they saw before. */
export class Session {
  #socket;
  #heard;
  #last = 0;

  /** The arguments are those of Pictures, but for the model. */
  constructor(socket, heard) {
    this.#socket = socket;
    this.#heard = heard;
    socket.on("prediction", (text) => {
      const prediction = JSON.parse(text);
      heard.answered(prediction.recv_ts, prediction);
    });
  }

  /** Begin, on a new connection or after `end`. An Error says why that cannot be. */
  async begin() {
    check(await this.#socket.call("session_start", this.#time()));
  }

  /** Send a JPEG; returns its key, the time that goes with it. */
  send(jpeg) {
    const time = this.#time();
    const key = this.#last;
    this.#socket
      .call("frame", new Blob([time, jpeg]))
      .then(check)
      .catch((error) => this.#heard.refused(key, error.message));
    return key;
  }

  /** End it; the models have a last word. */
  end() {
    this.#socket.emit("session_end", this.#time());
  }

  /** The time as 8 bytes, milliseconds in little endian; no two are alike, since answers are known by it. */
  #time() {
    this.#last = Math.max(Date.now(), this.#last + 1);
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(this.#last), true);
    return view.buffer;
  }
}

/** Throw what an acknowledgement refuses. */
function check(acknowledgement) {
  const { success, error } = JSON.parse(acknowledgement);
  if (!success) {
    throw new Error(error);
  }
}
