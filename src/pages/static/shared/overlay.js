// What a model found, drawn over the picture that it found it in: boxes, labels, tracks, key points.

import { withInput } from "./words.js";

const COLOURS = ["#4ade80", "#38bdf8", "#facc15", "#fb7185", "#c084fc", "#fb923c", "#2dd4bf", "#a3e635"];
const INK = "#0b0f14";
const FONT = "600 12px system-ui, sans-serif";
const MOST = 200; // boxes and points of a picture that are drawn: nobody reads more

/**
 * Draw a prediction (docs/protocols.md) on a canvas that lies over its picture.
 *
 * The picture is taken to be shown as `object-fit: contain` shows it in a box of the canvas's size. Without a
 * prediction the canvas is cleared.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {object|null} prediction
 */
export function draw(canvas, prediction) {
  const context = fitted(canvas);
  const size = prediction?.size ?? prediction?.frame?.size;
  if (!size || !(size[0] > 0) || !(size[1] > 0)) {
    return;
  }
  const view = viewOf(canvas, size);
  for (const track of listOf(prediction.tracks)) {
    drawPath(context, view, track);
  }
  for (const box of [...listOf(prediction.boxes), ...listOf(prediction.tracks).filter((track) => "width" in track)]) {
    drawBox(context, view, box);
  }
  drawPoints(context, view, prediction.keypoints, COLOURS[0]);
  if (!listOf(prediction.boxes).length && prediction.label && prediction.label !== "none") {
    drawTag(context, withInput(tagOf(prediction), prediction.input), COLOURS[0], view.left + 6, view.top + 6);
  }
}

/** The canvas's context in pixels of the page, cleared; the canvas has as many pixels as the screen there. */
function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Where the picture lies on the canvas, and how much larger it is there. */
function viewOf(canvas, [width, height]) {
  const scale = Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
  return {
    scale,
    left: (canvas.clientWidth - width * scale) / 2,
    top: (canvas.clientHeight - height * scale) / 2,
    right: (canvas.clientWidth + width * scale) / 2,
  };
}

function listOf(value) {
  return Array.isArray(value) ? value.slice(0, MOST).filter((one) => one && typeof one === "object") : [];
}

/** A colour for whatever has this track number, or else this label. */
function colourOf(box) {
  const key = String(box.id ?? box.track ?? box.label ?? "");
  let sum = 0;
  for (const character of key) {
    sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  }
  return COLOURS[sum % COLOURS.length];
}

/** `face 98 %`, with its track's number where it has one. */
function tagOf(box) {
  const track = box.id ?? box.track;
  const words = [track === undefined ? "" : `#${track}`, box.label ?? ""];
  if (Number.isFinite(box.score)) {
    words.push(`${Math.round(box.score * 100)} %`);
  }
  return words.filter(Boolean).join(" ").slice(0, 60);
}

function drawBox(context, view, box) {
  const colour = colourOf(box);
  const x = view.left + box.x * view.scale;
  const y = view.top + box.y * view.scale;
  context.lineWidth = 4;
  context.strokeStyle = "rgb(0 0 0 / 45%)"; // so that a box is seen on any picture
  context.strokeRect(x, y, box.width * view.scale, box.height * view.scale);
  context.lineWidth = 2;
  context.strokeStyle = colour;
  context.strokeRect(x, y, box.width * view.scale, box.height * view.scale);
  drawPoints(context, view, box.keypoints, colour);
  const tag = tagOf(box);
  if (tag) {
    drawTag(context, tag, colour, x - 1, y > 20 + view.top ? y - 19 : y + 2, view.right);
  }
}

/** A text on its colour, within the picture's right border. */
function drawTag(context, text, colour, x, y, right = Infinity) {
  context.font = FONT;
  const width = context.measureText(text).width + 10;
  const left = Math.max(0, Math.min(x, right - width));
  context.fillStyle = colour;
  context.fillRect(left, y, width, 18);
  context.fillStyle = INK;
  context.textBaseline = "middle";
  context.fillText(text, left + 5, y + 9.5);
}

/** A point is `[x, y]`, `[x, y, score]` or `{x, y}`, in pixels of the picture. */
function pointsOf(value) {
  return listOf(value)
    .map((point) => (Array.isArray(point) ? point : [point.x, point.y]))
    .filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
}

function drawPoints(context, view, points, colour) {
  context.fillStyle = colour;
  for (const [x, y] of pointsOf(points)) {
    context.beginPath();
    context.arc(view.left + x * view.scale, view.top + y * view.scale, 3, 0, 2 * Math.PI);
    context.fill();
  }
}

/** The way that a track has come: its `path`, points as above, oldest first. */
function drawPath(context, view, track) {
  const points = pointsOf(track.path);
  context.strokeStyle = colourOf(track);
  context.lineWidth = 2;
  context.beginPath();
  for (const [x, y] of points) {
    context.lineTo(view.left + x * view.scale, view.top + y * view.scale);
  }
  context.stroke();
}
