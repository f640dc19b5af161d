// The live page: one connection to the server, and what it brings goes to the parts of the page.

import { about, byId, element, say } from "../shared/dom.js";
import { sentenceOf } from "../shared/ask.js";
import { Linked } from "../shared/linked.js";
import { stayLoggedIn } from "../shared/stay.js";
import { count, number } from "./format.js";
import { offerLogins } from "./logins.js";
import { Models } from "./models.js";
import { Events, showServer } from "./server.js";
import { Snippets } from "./snippets.js";
import { Steering } from "./steering.js";
import { offerTraining } from "./training.js";
import { Wall } from "./wall.js";

const FILTER_FROM = 7; // streams from which on one looks for those one means
const FILTER_PAUSE = 200; // milliseconds after the last key

const known = about();
const steering = known.changes ? new Steering(known.models) : null;
const wall = new Wall(byId("tiles"), {
  watch: (ids) => live.watch(ids),
  steer: steering && ((row) => steering.open(row)),
});
const train = known.changes ? offerTraining((...order) => models.order(...order)) : null;
const models = new Models(train);
const snippets = new Snippets();
const events = new Events();
const filter = byId("filter");

const live = new Linked({
  hello,
  state,
  frame: (message) => wall.show(message),
  event: (news) => events.add(news),
  closed,
  refused,
});

if (known.user) {
  offerLogins();
}
for (const link of document.querySelectorAll(".camera-page")) {
  if (link.origin === location.origin) {
    say(link, link.href); // with the path that a proxy has the server at
  }
}
stayLoggedIn("./", () => !document.hidden);
let typing = 0;
filter.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => live.filter(filter.value.trim()), FILTER_PAUSE);
});

function hello({ version }) {
  document.body.classList.remove("lost");
  byId("lost").hidden = true;
  say(byId("link"), "connected");
  events.clear();
  if (version !== known.version) {
    const anew = element("a", { href: "" }, "Load it anew");
    tell(`The server is version ${version} now, and this page of ${known.version}. `, anew);
  }
}

function state({ streams, total, models: all, server, snippets: pictures, trainings, at }) {
  wall.update(streams, at);
  const filtered = filter.value.trim() !== "";
  byId("empty").hidden = streams.length > 0 || filtered;
  byId("no-match").hidden = streams.length > 0 || !filtered;
  byId("filter-box").hidden = total < FILTER_FROM && !filtered;
  say(byId("summary"), summaryOf(streams, total, filtered));
  models.update(all, trainings);
  snippets.update(pictures);
  showServer(server);
}

function summaryOf(streams, total, filtered) {
  if (!streams.length) {
    return "";
  }
  const sum = (name) => number(streams.reduce((all, row) => all + row[name], 0));
  const which = total > streams.length ? `${streams.length} of ${total} streams` : count(streams.length, "stream");
  return `${which}${filtered ? " found" : ""} · ${sum("fps_in")} frames/s in · ${sum("fps_answered")} answered`;
}

function closed({ sentence, seconds }) {
  document.body.classList.add("lost");
  say(byId("link"), "not connected");
  tell(`${sentenceOf(sentence)} What you see is no longer live; the page tries again in ${Math.ceil(seconds)} s.`);
}

function refused({ status, sentence }) {
  document.body.classList.add("lost");
  say(byId("link"), "not connected");
  const login = element("a", { href: "login?next=" }, status === 401 ? "Log in" : "Log in as somebody else");
  tell(`${sentenceOf(sentence)} `, login);
}

function tell(...words) {
  byId("lost").hidden = false;
  byId("lost").replaceChildren(...words);
}
