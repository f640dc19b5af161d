// The fields of an operation: its parameters and its body, made of their description.

import { about, element } from "../shared/dom.js";
import { PictureField } from "./picture.js";

/** In a body of JSON it stands for the chosen picture, in base64. */
export const PICTURE = "$PICTURE";

const LONG = 100; // characters: a text of an example that is longer is a picture

let made = 0;

/** A label and its field with an id of its own. */
function labelled(text, field, note) {
  made += 1;
  field.id = `field-${made}`;
  const hint = note ? element("p", { class: "quiet small", id: `note-${made}` }, note) : null;
  if (hint) {
    field.setAttribute("aria-describedby", hint.id);
  }
  return element("div", { class: "field" }, element("label", { for: field.id }, text), field, hint);
}

/** A parameter: a list where there are values to choose from, else a field for a text or a number. */
export class ParameterField {
  constructor(parameter) {
    this.name = parameter.name;
    this.place = parameter.in;
    const { schema } = parameter;
    this.field = schema.enum ? choices(parameter, schema) : writing(parameter, schema);
    this.view = labelled(`${this.name} (${this.place})`, this.field, parameter.description);
  }

  get value() {
    return this.field.value;
  }
}

function choices({ required }, schema) {
  const values = schema.enum.map((value) => element("option", { value }, value));
  const none = element("option", { value: "" }, schema.default ? `by default ${schema.default}` : "none");
  const field = element("select", { required }, required ? [] : none, values);
  if (schema.enum.includes(about().model)) {
    field.value = about().model;
  }
  return field;
}

function writing({ required }, schema) {
  const number = ["integer", "number"].includes(schema.type);
  const step = schema.type === "number" ? "any" : null;
  const { minimum: min, maxLength: maxlength } = schema;
  const value = schema.const ?? (required && number ? 1 : "");
  const type = number ? "number" : "text";
  const plain = { autocomplete: "off", spellcheck: "false" };
  return element("input", { type, required, min, step, maxlength, value, ...plain });
}

/** The body: a picture, or a text of JSON that may have one in it. */
export class BodyField {
  constructor({ content, required }) {
    const example = content["application/json"]?.example;
    this.picture = example && hasPicture(example) ? new PictureField() : null;
    this.text = null;
    this.view = element("div", {}, this.picture?.view);
    if (!("image/png" in content)) {
      const text = JSON.stringify(example, (_key, value) => (isPicture(value) ? PICTURE : value), 2);
      this.text = element("textarea", { rows: text.split("\n").length, required, spellcheck: "false" }, text);
      const note = this.picture ? `${PICTURE} stands for the picture above, in base64.` : null;
      this.view.append(labelled("Body (JSON)", this.text, note));
    }
  }

  /** What is to be sent: `{type, data}`. */
  async content() {
    const file = this.picture ? await this.picture.file() : null;
    if (!this.text) {
      return { type: file.type || "application/octet-stream", data: file };
    }
    const text = this.text.value;
    const data = file && text.includes(PICTURE) ? text.replaceAll(PICTURE, await base64(file)) : text;
    return { type: "application/json", data };
  }
}

function isPicture(value) {
  return typeof value === "string" && value.length > LONG;
}

function hasPicture(example) {
  return JSON.stringify(example).length > LONG;
}

/** A file's bytes in base64. */
async function base64(file) {
  const reader = new FileReader();
  await new Promise((done) => {
    reader.onloadend = done;
    reader.readAsDataURL(file);
  });
  if (reader.error) {
    throw reader.error;
  }
  return reader.result.slice(reader.result.indexOf(",") + 1);
}
