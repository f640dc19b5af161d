// One operation as a form: fields, the line for a shell, sending, and what comes back.

import { element } from "../shared/dom.js";
import { Answer } from "./answer.js";
import { curl } from "./curl.js";
import { BodyField, ParameterField } from "./fields.js";

export class Trial {
  constructor(details, method, path, operation) {
    this.method = method;
    this.path = path;
    this.login = "security" in operation;
    this.parameters = (operation.parameters ?? []).map((parameter) => new ParameterField(parameter));
    this.body = operation.requestBody ? new BodyField(operation.requestBody) : null;
    this.line = details.querySelector(".curl");
    this.answer = new Answer();
    this.sending = null;
    const sends = method === "get" ? "Send" : `Send ${method.toUpperCase()}`;
    this.send = element("button", { class: "main", type: "submit" }, sends);
    this.stop = element("button", { type: "button", hidden: true, onclick: () => this.end() }, "Stop");
    this.copy = element("button", { class: "copy", type: "button", onclick: () => this.copyLine() }, "Copy");
    this.show(details);
  }

  show(details) {
    const fields = [...this.parameters.map((parameter) => parameter.view), this.body?.view];
    const line = element("div", { class: "line" }, this.line, this.copy);
    const buttons = element("div", { class: "buttons" }, this.send, this.stop);
    this.form = element("form", {}, fields, line, buttons);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    for (const kind of ["input", "change"]) {
      this.form.addEventListener(kind, () => this.writeLine());
    }
    details.querySelector(".try").replaceChildren(this.form, this.answer.view);
    details.querySelector(".parameters")?.remove();
    details.querySelector(".bodies")?.remove();
    this.writeLine();
  }

  /** The address with its parameters, below wherever this page lies. */
  get address() {
    let path = this.path.slice(1);
    const query = new URLSearchParams();
    for (const { name, place, value } of this.parameters) {
      if (place === "path") {
        path = path.replace(`{${name}}`, () => encodeURIComponent(value));
      } else if (value) {
        query.set(name, value);
      }
    }
    const address = new URL(path || ".", document.baseURI);
    address.search = query.toString();
    return address.href;
  }

  writeLine() {
    const text = this.body?.text?.value ?? "";
    const file = this.body && !this.body.text ? this.body.picture.name : "";
    this.line.textContent = curl(this.method, this.address, { login: this.login, file, text });
  }

  async ask() {
    this.end();
    const sending = new AbortController();
    this.sending = sending;
    this.stop.hidden = false;
    this.answer.clear("Asking …");
    const begun = performance.now();
    try {
      const content = await this.body?.content();
      const options = { method: this.method.toUpperCase(), cache: "no-store", signal: sending.signal };
      if (content?.data) {
        Object.assign(options, { body: content.data, headers: { "Content-Type": content.type } });
      }
      const sent = this.body?.picture ? await this.body.picture.file() : null;
      await this.answer.show(await fetch(this.address, options), begun, sent);
      this.stop.hidden = !this.answer.filming;
    } catch (error) {
      this.failed(error, sending);
    }
  }

  failed(error, sending) {
    if (this.sending !== sending) {
      return; // another one is under way
    }
    this.stop.hidden = true;
    const stopped = error.name === "AbortError";
    this.answer.fail(stopped ? "Stopped." : `The server does not answer (${error.message}). Try again.`);
  }

  /** Take what comes no longer. */
  end() {
    this.sending?.abort();
    if (this.answer.filming) {
      this.answer.hidePicture();
      this.answer.fail("Stopped.");
    }
    this.stop.hidden = true;
  }

  async copyLine() {
    getSelection().selectAllChildren(this.line);
    try {
      await navigator.clipboard.writeText(this.line.textContent);
    } catch {
      document.execCommand("copy"); // over plain HTTP there is no clipboard but this
    }
    this.copy.textContent = "Copied";
    setTimeout(() => { this.copy.textContent = "Copy"; }, 2000);
  }
}
