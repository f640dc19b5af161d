// The dialog that starts a training.

import { byId, say } from "../shared/dom.js";

/** @param {(path: string, done: string) => Promise<void>} order sends it */
export function offerTraining(order) {
  const dialog = byId("training");
  let name = "";
  dialog.addEventListener("ask", ({ detail }) => {
    name = detail.name;
    say(byId("training-title"), `Train ${detail.title}`);
    dialog.showModal();
  });
  byId("training-close").addEventListener("click", () => dialog.close());
  byId("training-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
    const sample = new FormData(event.target).get("sample");
    order(`${encodeURIComponent(name)}/train?training_sample=${sample}`, `the training of ${name} has started`);
  });
}
