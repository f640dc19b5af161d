// The dialog that starts a training.

import { byId, say } from "../shared/dom.js";

/**
 * Make the dialog ready.
 *
 * @param {(name: string, what: string, done: string) => void} order sends an order about a model
 * @returns {(model: object) => void} opens it for a model
 */
export function offerTraining(order) {
  const dialog = byId("training");
  let name = "";
  byId("training-close").addEventListener("click", () => dialog.close());
  byId("training-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
    const sample = new FormData(event.target).get("sample");
    order(name, `train?training_sample=${sample}`, `the training of ${name} has started`);
  });
  return (model) => {
    name = model.name;
    say(byId("training-title"), `Train ${model.title}`);
    dialog.showModal();
  };
}
