// What every page's script uses to make and find elements.

/** The element of this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** What the page knew when it was made: version, user, roles, models. */
export function about() {
  return JSON.parse(byId("about").textContent);
}

/**
 * Make an element: `element("button", { type: "button", class: "main", onclick: start }, "Start")`.
 *
 * Attributes whose names begin with `on` are listeners; true is an attribute without a value; null, undefined and
 * false are none. A child is a node or a text; null, undefined and false are none.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (name.startsWith("on")) {
      made.addEventListener(name.slice(2), value);
    } else {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Write a text into an element where it is another one, so that screen readers hear of changes alone. */
export function say(target, text) {
  if (target.textContent !== text) {
    target.textContent = text;
  }
}
