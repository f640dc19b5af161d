// Pictures on demand: the newest of each number, and the button that asks for new ones.

import { byId, element, say } from "../shared/dom.js";
import { draw } from "../shared/overlay.js";
import { withInput } from "../shared/words.js";
import { time } from "./format.js";

export class Snippets {
  constructor() {
    this.shown = new Map();
    byId("snap").addEventListener("click", () => this.snap());
  }

  /** Show the newest pictures of a state. */
  update(rows) {
    byId("snippets-none").hidden = rows.length > 0;
    const ids = new Set(rows.map((row) => row.id));
    for (const [id, one] of this.shown) {
      if (!ids.has(id)) {
        one.place.remove();
        this.shown.delete(id);
      }
    }
    rows.forEach((row) => this.show(row));
  }

  show(row) {
    const one = this.shown.get(row.id) ?? this.add(row);
    if (one.received === row.received) {
      return;
    }
    one.received = row.received;
    const { label, error, input } = row.prediction ?? {};
    const name = row.camera ? `${row.camera} (${row.id})` : `Number ${row.id}`;
    say(one.name, name);
    say(one.text, [error ?? withInput(label, input), time(row.received)].filter(Boolean).join(" · "));
    one.image.alt = `${name}${label ? `: ${label}` : ""}`;
    one.image.src = `snippets/${row.id}/image?of=${encodeURIComponent(row.received)}`;
    one.image.onload = () => draw(one.overlay, row.prediction);
  }

  add(row) {
    const one = {
      image: element("img", { loading: "lazy" }),
      overlay: element("canvas", { class: "overlay", "aria-hidden": "true" }),
      name: element("strong"),
      text: element("span", { class: "quiet small" }),
    };
    one.place = element("li", {}, element("div", { class: "view" }, one.image, one.overlay), one.name, one.text);
    byId("snippets").append(one.place);
    this.shown.set(row.id, one);
    return one;
  }

  /** Tell all capture devices to take a picture. */
  snap() {
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const said = byId("snap-said");
    const socket = new WebSocket(url);
    say(said, "Asking…");
    socket.addEventListener("open", () => {
      socket.send("snap");
      socket.close();
      say(said, `Asked at ${time(Date.now())}: the pictures come when the devices have taken them.`);
    });
    socket.addEventListener("error", () => say(said, "The capture devices could not be asked; is the server there?"));
  }
}
