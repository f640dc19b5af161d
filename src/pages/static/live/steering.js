// What an admin may do to a stream: give it another model, rate or name, or disconnect it.

import { ask, sentenceOf } from "../shared/ask.js";
import { byId, element, say } from "../shared/dom.js";

export class Steering {
  /** @param {object[]} models that the server has, as `about` tells of them */
  constructor(models) {
    this.row = null;
    this.dialog = byId("steering");
    this.form = byId("steering-form");
    this.model = byId("steering-model");
    this.end = byId("steering-end");
    this.error = byId("steering-error");
    this.model.append(...models.filter((model) => !model.stateful).map(optionOf));
    this.form.addEventListener("submit", (event) => this.save(event));
    this.end.addEventListener("click", () => this.disconnect());
    byId("steering-close").addEventListener("click", () => this.dialog.close());
  }

  /** Open the dialog for a stream. */
  open(row) {
    this.row = row;
    this.sure = false;
    const session = row.kind === "session";
    say(byId("steering-title"), `Change ${row.name || row.id}`);
    say(this.end, session ? "End this session" : "Disconnect");
    byId("steering-options").hidden = session; // its models are the server's to choose
    this.form.elements.name.value = row.camera ?? "";
    this.form.elements.name.placeholder = row.name;
    this.form.elements.hz.value = "";
    if (!session && ![...this.model.options].some((option) => option.value === row.model)) {
      this.model.append(optionOf({ name: row.model, title: row.model }));
    }
    this.model.value = row.model;
    this.fail("");
    this.dialog.showModal();
  }

  async save(event) {
    event.preventDefault();
    const { name, hz } = this.form.elements;
    const wanted = {};
    if (this.row.kind !== "session" && this.model.value !== this.row.model) {
      wanted.model = this.model.value;
    }
    if (hz.value !== "") {
      wanted.hz = Number(hz.value);
    }
    if (name.value.trim() && name.value.trim() !== this.row.camera) {
      wanted.name = name.value.trim();
    }
    if (Object.keys(wanted).length) {
      await this.order("POST", wanted);
    } else {
      this.dialog.close();
    }
  }

  /** The first press asks, the second one does it. */
  async disconnect() {
    if (!this.sure) {
      this.sure = true;
      say(this.end, this.row.kind === "session" ? "Really end it?" : "Really disconnect? It may come back");
      return;
    }
    await this.order("DELETE");
  }

  async order(method, body) {
    try {
      await ask(method, `streams/${encodeURIComponent(this.row.id)}`, body);
      this.dialog.close();
    } catch (error) {
      this.fail(error.message);
    }
  }

  fail(text) {
    this.error.hidden = !text;
    this.error.textContent = text && sentenceOf(text);
  }
}

function optionOf({ name, title }) {
  return element("option", { value: name }, title === name ? name : `${title} (${name})`);
}
