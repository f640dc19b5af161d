// How the server itself does, and what has happened.

import { sentenceOf } from "../shared/ask.js";
import { byId, element, say } from "../shared/dom.js";
import { bytes, number, seconds, time } from "./format.js";

const MOST_EVENTS = 100;

/** Show the server's figures of a state. */
export function showServer({ version, uptime_s: uptime, lag_ms: lag, memory, budget, connections, workers, lacking }) {
  const open = Object.entries(connections).filter(([, value]) => value > 0);
  const figures = {
    version,
    uptime: seconds(uptime),
    lag: Number.isFinite(lag.p99) ? `${number(lag.p50)} ms, 99 % within ${number(lag.p99)} ms` : "–",
    memory: Number.isFinite(memory) ? bytes(memory) : "–",
    budget: Number.isFinite(budget.used) ? `${bytes(budget.used)} of ${bytes(budget.total)}` : "–",
    connections: open.map(([kind, value]) => `${value} ${kind}`).join(", ") || "none",
    workers: String(workers ?? "–"),
  };
  for (const [name, text] of Object.entries(figures)) {
    say(byId(`server-${name}`), text);
  }
  byId("lacking").hidden = !lacking;
  say(byId("lacking"), lacking ? `${sentenceOf(lacking)} Cameras stream on.` : "");
}

/** The list of events, newest first. */
export class Events {
  constructor() {
    this.place = byId("events");
  }

  add({ at, kind, text }) {
    byId("events-none").hidden = true;
    const when = element("time", { datetime: new Date(at).toISOString() }, time(at));
    this.place.prepend(element("li", {}, when, element("strong", {}, kind), element("span", {}, text)));
    while (this.place.children.length > MOST_EVENTS) {
      this.place.lastChild.remove();
    }
  }

  /** Forget them: a server that was connected anew tells those that it has again. */
  clear() {
    this.place.replaceChildren();
    byId("events-none").hidden = false;
  }
}
