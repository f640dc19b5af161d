// A small curve of a value over the last seconds, on a canvas.

const MOST = 600; // points that are kept
const GAP = 5; // seconds without a value that are a gap in the line

export class Curve {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{seconds?: number, unit?: string, from?: number|null}} options the time shown; the unit for what is said to
   *   screen readers; the lowest value of the axis, null for the lowest there is
   */
  constructor(canvas, { seconds = 60, unit = "", from = 0 } = {}) {
    this.canvas = canvas;
    this.seconds = seconds;
    this.unit = unit;
    this.from = from;
    this.points = [];
    this.waiting = false;
    this.hidden = false;
    canvas.setAttribute("role", "img");
  }

  /** Whether it is out of sight: then values are kept and nothing is drawn. */
  hide(yes) {
    this.hidden = yes;
    this.plan();
  }

  /** Add a value at a time in milliseconds; null is "there was none". */
  add(value, at = Date.now()) {
    const last = this.points.at(-1);
    if (last && at <= last.at) {
      return;
    }
    this.points.push({ at, value: Number.isFinite(value) ? value : null });
    const first = this.points.findIndex((point) => point.at >= at - this.seconds * 1000);
    this.points.splice(0, Math.max(first, this.points.length - MOST));
    this.plan();
  }

  /** Draw before the page is shown next. */
  plan() {
    if (!this.waiting && !this.hidden) {
      this.waiting = true;
      requestAnimationFrame(() => this.draw());
    }
  }

  /** The lowest and highest value shown. */
  range() {
    const values = this.points.map((point) => point.value).filter((value) => value !== null);
    const high = Math.max(...values, this.from ?? -Infinity);
    const low = this.from ?? Math.min(...values);
    return high > low ? [low, high] : [low - 1, low + 1];
  }

  draw() {
    this.waiting = false;
    const context = fitted(this.canvas);
    const values = this.points.filter((point) => point.value !== null);
    const last = values.at(-1);
    if (!last) {
      this.canvas.setAttribute("aria-label", "no values yet");
      return;
    }
    const [low, high] = this.range();
    this.canvas.setAttribute("aria-label", `now ${spoken(last.value)}, at most ${spoken(high)} ${this.unit}`.trim());
    this.stroke(context, low, high);
  }

  stroke(context, low, high) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const end = this.points.at(-1).at;
    const x = (at) => width - ((end - at) / (this.seconds * 1000)) * width;
    const y = (value) => height - 2 - ((value - low) / (high - low)) * (height - 4);
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let before = null;
    for (const point of this.points) {
      if (point.value !== null) {
        const joined = before !== null && point.at - before < GAP * 1000;
        context[joined ? "lineTo" : "moveTo"](x(point.at), y(point.value));
      }
      before = point.value === null ? null : point.at;
    }
    context.stroke();
  }
}

function spoken(value) {
  return String(Math.abs(value) < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

/** The canvas's context in pixels of the page, cleared. */
function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
