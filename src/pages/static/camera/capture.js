/** What a camera sees: shown in a video element, and taken from there as JPEG, upright, as the browser shows it. */

const MOST_DELAY = 1000; // milliseconds from a camera to the page: where it seems more, the two clocks differ

export class Capture {
  #video;
  #canvas = document.createElement("canvas");
  #stream = null;
  #waiting = null; // what is called with the next frame, so that it can be cancelled
  #seen;

  /**
   * @param {HTMLVideoElement} video
   * @param {{frame: function(number, number), ended: function()}} seen is told of each new frame, with the time in
   *   milliseconds and when the camera took it, and when the camera was taken away; no frame comes while the page is
   *   not in sight
   */
  constructor(video, seen) {
    this.#video = video;
    this.#seen = seen;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /** Show a stream, in place of one that is shown. */
  async show(stream) {
    this.close();
    this.#stream = stream;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => this.#end(stream));
    this.#video.srcObject = stream;
    this.#next();
    try {
      await this.#video.play();
    } catch {
      // Closed before it began.
    }
  }

  /** Stop the camera; its light goes out. */
  close() {
    if (this.#stream) {
      cancel(this.#video, this.#waiting);
      this.#stream.getTracks().forEach((track) => track.stop());
      this.#stream = this.#video.srcObject = null;
    }
  }

  /**
   * The frame that is shown now.
   *
   * @param {number[]} most width and height that it may have, held across
   * @param {number} quality 0 to 1
   * @returns {Promise<Blob|null>} a JPEG; null where there is none yet
   */
  async jpeg(most, quality) {
    const [width, height] = fitted([this.#video.videoWidth, this.#video.videoHeight], most);
    if (!width || !height) {
      return null;
    }
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      [this.#canvas.width, this.#canvas.height] = [width, height];
    }
    this.#canvas.getContext("2d", { alpha: false }).drawImage(this.#video, 0, 0, width, height);
    return new Promise((done) => this.#canvas.toBlob(done, "image/jpeg", quality));
  }

  #next() {
    this.#waiting = onFrame(this.#video, (_shown, about) => {
      this.#next();
      const now = performance.now();
      const taken = about?.captureTime ?? now;
      this.#seen.frame(now, now - taken >= 0 && now - taken < MOST_DELAY ? taken : now);
    });
  }

  #end(stream) {
    if (stream === this.#stream) {
      this.close();
      this.#seen.ended();
    }
  }
}

/** A picture's size within the largest there may be, which is turned as the picture is; it is never enlarged. */
export function fitted([width, height], [long, short]) {
  const [mostWidth, mostHeight] = height > width ? [short, long] : [long, short];
  const scale = Math.min(1, mostWidth / width, mostHeight / height);
  return [Math.round(width * scale), Math.round(height * scale)];
}

/** Call back with the next frame of a video; browsers without that call back with the screen's. */
function onFrame(video, called) {
  return video.requestVideoFrameCallback ? video.requestVideoFrameCallback(called) : requestAnimationFrame(called);
}

function cancel(video, waiting) {
  if (video.cancelVideoFrameCallback) {
    video.cancelVideoFrameCallback(waiting);
  } else {
    cancelAnimationFrame(waiting);
  }
}
