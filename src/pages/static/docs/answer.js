// An answer of the server, shown: JSON, text as it comes, a picture, and what a model found drawn over the picture.

import { element } from "../shared/dom.js";
import { draw } from "../shared/overlay.js";

const MOST = 200000; // characters of a text that are shown

export class Answer {
  constructor() {
    this.status = element("p", { class: "status", role: "status" });
    this.text = element("pre", { tabindex: "0", hidden: true, "aria-label": "The answer" });
    this.picture = element("img", { alt: "" });
    this.canvas = element("canvas", { class: "overlay" });
    this.figure = element("div", { class: "found", hidden: true }, this.picture, this.canvas);
    this.view = element("div", { class: "answer" }, this.status, this.figure, this.text);
    this.prediction = null;
    this.filming = false;
    this.picture.addEventListener("load", () => draw(this.canvas, this.prediction));
    this.picture.addEventListener("error", () => this.hidePicture());
    new ResizeObserver(() => draw(this.canvas, this.prediction)).observe(this.figure);
  }

  clear(sentence) {
    this.status.textContent = sentence;
    this.status.className = "status";
    this.text.hidden = true;
    this.text.textContent = "";
    this.prediction = null;
    this.hidePicture();
  }

  fail(sentence) {
    this.status.textContent = sentence;
    this.status.className = "status error";
  }

  /**
   * Show a response, as it comes.
   *
   * @param {Response} response
   * @param {number} begun  when it was asked for, by performance.now()
   * @param {Blob|null} sent  the picture that went out with it
   */
  async show(response, begun, sent) {
    const kind = (response.headers.get("Content-Type") ?? "").split(";")[0];
    const head = `${response.status} ${response.statusText}`.trim();
    this.status.className = `status ${response.ok ? "good" : "error"}`;
    if (kind.startsWith("multipart/")) {
      this.film(response, head);
      return;
    }
    this.status.textContent = `${head}, …`;
    const size = kind.startsWith("image/") ? await this.showPicture(response) : await this.read(response);
    const took = Math.round(performance.now() - begun);
    this.status.textContent = `${head} · ${took} ms · ${size.toLocaleString("en")} bytes · ${kind || "no body"}`;
    if (kind === "application/json") {
      this.showJson(sent);
    }
  }

  /** A film of pictures goes on for ever: an image of its own asks for it once more. */
  film(response, head) {
    response.body.cancel();
    this.filming = true;
    this.lead(response.url);
    this.status.textContent = `${head} · pictures as they come, until Stop`;
  }

  lead(address) {
    this.figure.hidden = false;
    this.picture.src = address;
  }

  async showPicture(response) {
    const blob = await response.blob();
    this.lead(URL.createObjectURL(blob));
    return blob.size;
  }

  /** A text piece by piece, since events come for as long as they happen. */
  async read(response) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let size = 0;
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      size += piece.value.length;
      const text = this.text.textContent + decoder.decode(piece.value, { stream: true });
      this.text.textContent = text.slice(-MOST);
      this.text.hidden = false;
    }
    return size;
  }

  /** JSON in lines of its own, and over the picture that was sent what was found in it. */
  showJson(sent) {
    const found = parsed(this.text.textContent);
    if (found === undefined) {
      return;
    }
    this.text.textContent = JSON.stringify(found, null, 2);
    const prediction = found?.prediction ?? found;
    if (sent && prediction?.size) {
      this.prediction = prediction;
      this.lead(URL.createObjectURL(sent));
    }
  }

  hidePicture() {
    this.filming = false;
    URL.revokeObjectURL(this.picture.src);
    this.picture.removeAttribute("src");
    this.figure.hidden = true;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // cut, or none: as it came, then
  }
}
