/** The browser camera: what is chosen, the button, and what is shown of a run. */

import { sentenceOf } from "../shared/ask.js";
import { about, byId, element, say } from "../shared/dom.js";
import { stayLoggedIn } from "../shared/stay.js";
import { Board } from "./board.js";
import { keep, kept, put, restore } from "./choices.js";
import { isPossible, listed } from "./devices.js";
import { Run, RunState } from "./run.js";
import { WakeLock } from "./wakelock.js";

const TELL_EVERY = 500; // milliseconds
const NOTE_FOR = 8000; // milliseconds after it was true last

const form = byId("choices");
const video = byId("preview");
const start = byId("start");
const board = new Board();
const wakeLock = new WakeLock();
let run = null;
let telling = null;
let noted = null;

/** What is told of a run. */
const shown = {
  state(state, sentence, refused) {
    const over = state === RunState.ENDED;
    byId("camera").dataset.state = state;
    byId("fields").disabled = !over;
    start.textContent = over ? "Start" : "Stop";
    start.classList.toggle("main", over);
    say(byId("status"), over ? "The camera is off" : sentence || "The camera is on");
    byId("error").hidden = !(over && sentence);
    say(byId("error"), over && sentence ? sentenceOf(sentence) : "");
    byId("login").hidden = !(refused && about().auth);
    wakeLock.want(!over);
    if (state !== RunState.RUNNING) {
      board.end();
      hideNote();
    }
    if (over) {
      clearInterval(telling);
      board.tell(run);
      run = null;
    }
  },
  note(sentence) {
    say(byId("note"), sentenceOf(sentence));
    byId("note").hidden = false;
    clearTimeout(noted);
    noted = setTimeout(hideNote, NOTE_FOR);
  },
  answer(prediction, age) {
    board.answer(prediction, age);
  },
};

function hideNote() {
  byId("note").hidden = true;
}

/** The form's values, as a Run takes them. */
function choices() {
  const { kind, model, camera, size, rate, name } = Object.fromEntries(new FormData(form));
  return { kind, model, camera, size: size.split("x").map(Number), rate: Number(rate), name: name.trim() };
}

function toggle(event) {
  event.preventDefault();
  if (run) {
    run.stop();
    return;
  }
  const chosen = choices();
  board.begin(chosen.kind);
  run = new Run(video, chosen, shown);
  const begun = run;
  telling = setInterval(() => board.tell(begun), TELL_EVERY);
  run.start();
}

function isRunning() {
  return run?.state === RunState.RUNNING;
}

/** List the cameras; their names are known once one was opened. */
async function listCameras() {
  const field = byId("device");
  const options = (await listed()).map(([value, label]) => element("option", { value }, label));
  const before = field.value || kept().camera || ""; // of now: something may have been chosen meanwhile
  field.replaceChildren(...options);
  put(field, before);
}

function showKind() {
  byId("of-pictures").hidden = byId("kind").value === "session";
}

function changed() {
  showKind();
  keep(form);
}

/** The stage takes the picture's shape, which changes when a phone is turned. */
function shape() {
  if (video.videoHeight) {
    byId("stage").style.setProperty("--shape", video.videoWidth / video.videoHeight);
  }
}

restore(form);
showKind();
form.addEventListener("change", changed);
form.addEventListener("submit", toggle);
video.addEventListener("resize", shape);
video.addEventListener("loadedmetadata", listCameras);
if (isPossible()) {
  start.disabled = false;
  navigator.mediaDevices.addEventListener("devicechange", listCameras);
} else {
  byId(window.isSecureContext ? "incapable" : "insecure").hidden = false;
}
listCameras();
stayLoggedIn("camera", isRunning);
