// The models: how each is, and for admins a training or a reload of it.

import { ask, sentenceOf } from "../shared/ask.js";
import { byId, element, say } from "../shared/dom.js";
import { count, number, seconds } from "./format.js";

const SIGNS = { ready: "good", loading: "warn", "on trial": "warn", failed: "bad", disabled: "bad" };
const COLUMNS = ["state", "runtime", "rate", "batch", "queue", "error"];

export class Models {
  /** @param {((model: object) => void)|null} train begins a training; null where who looks may not change anything */
  constructor(train) {
    this.train = train;
    this.rows = new Map();
    this.trainings = new Map();
    this.all = false;
    this.more = byId("models-more");
    this.more.addEventListener("click", () => this.showAll());
    byId("models-actions").hidden = !train;
  }

  /** Show the models and trainings of a state. */
  update(models, trainings) {
    const running = new Set(trainings.filter((training) => training.running).map((training) => training.model));
    const names = new Set(models.map((model) => model.name));
    for (const [name, row] of this.rows) {
      if (!names.has(name)) {
        row.place.remove();
        this.rows.delete(name);
      }
    }
    models.forEach((model) => this.show(model, running));
    const idle = models.filter((model) => model.state === "absent").length;
    this.more.hidden = !idle || idle === models.length;
    this.all ||= idle === models.length;
    const further = `Show ${count(idle, "model")} that nobody has asked for`;
    say(this.more, this.all ? "Show only those that are loaded" : further);
    this.follow(trainings);
  }

  show(model, running) {
    const row = this.rows.get(model.name) ?? this.add(model);
    row.idle = model.state === "absent";
    row.place.hidden = row.idle && !this.all;
    row.state.className = `state ${SIGNS[model.state] ?? ""}`;
    say(row.state, row.idle ? "not loaded" : model.state);
    say(row.runtime, model.runtime || "–");
    say(row.rate, `${number(model.fps ?? 0)}/s`);
    say(row.batch, model.batch ? `${number(model.batch)} of ${model.max_batch}` : "–");
    say(row.queue, number(model.queue ?? 0));
    say(row.error, model.error ? sentenceOf(model.error) : "");
    if (row.train) {
      row.train.hidden = !model.trainable;
      row.train.disabled = running.size > 0;
    }
    row.reload?.toggleAttribute("disabled", model.state === "loading");
  }

  add(model) {
    const row = Object.fromEntries(COLUMNS.map((name) => [name, element("span")]));
    const cell = (label, ...content) => element("td", { "data-label": label }, ...content);
    row.place = element(
      "tr",
      {},
      element("th", { scope: "row" }, model.title, element("span", { class: "quiet small" }, ` ${model.name}`)),
      cell("State", row.state), cell("Runtime", row.runtime), cell("Pictures", row.rate), cell("Batch", row.batch),
      cell("Queue", row.queue), cell("Last error", row.error),
    );
    if (this.train) {
      const act = (text, onclick) =>
        element("button", { type: "button", class: "plain", "aria-label": `${text} ${model.name}`, onclick }, text);
      row.train = act("Train", () => this.train(model));
      row.reload = act("Reload", () => this.order(model.name, "reload", `${model.name} is being loaded anew`));
      row.place.append(element("td", { class: "actions" }, row.train, row.reload));
    }
    byId("models").append(row.place);
    this.rows.set(model.name, row);
    return row;
  }

  showAll() {
    this.all = !this.all;
    for (const row of this.rows.values()) {
      row.place.hidden = row.idle && !this.all;
    }
  }

  /** Send an order about a model, and say what came of it. */
  async order(name, what, done) {
    try {
      await ask("POST", `${encodeURIComponent(name)}/${what}`);
      this.say(done, false);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  say(text, wrong) {
    const place = byId("models-said");
    place.className = wrong ? "error" : "notice";
    place.textContent = sentenceOf(text);
    place.hidden = false;
  }

  // ---- trainings --------------------------------------------------------------------------------------------------

  follow(trainings) {
    for (const training of trainings) {
      const shown = this.trainings.get(training.model) ?? this.addTraining(training.model);
      const { epoch, epochs, part = 0 } = training;
      const known = training.running && epochs > 0;
      shown.bar.hidden = !training.running;
      if (known) {
        shown.bar.value = (epoch - 1 + part) / epochs;
      } else {
        shown.bar.removeAttribute("value");
      }
      say(shown.text, textOf(training));
      if (shown.cancel) {
        shown.cancel.hidden = !training.running;
      }
    }
  }

  addTraining(name) {
    const bar = element("progress", { max: 1, "aria-label": `Training of ${name}` });
    const text = element("span");
    const order = () => this.order(name, "train/cancel", `the training of ${name} is being cancelled`);
    const cancel = this.train && element("button", { type: "button", onclick: order }, "Cancel");
    const shown = { bar, text, cancel };
    this.trainings.set(name, shown);
    byId("trainings").append(element("li", {}, element("strong", {}, `Training of ${name}`), bar, text, cancel));
    return shown;
  }
}

function textOf({ state, text, accuracy, seconds_left: left }) {
  const words = [sentenceOf(text || state)];
  if (Number.isFinite(accuracy)) {
    words.push(`${(accuracy * 100).toFixed(1)} % right.`);
  }
  if (Number.isFinite(left)) {
    words.push(`About ${seconds(left)} left.`);
  }
  return words.join(" ");
}
