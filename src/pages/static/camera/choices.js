/** What is chosen on the page, kept in this browser from one visit to the next. */

const KEY = "imageserver camera";

/** What was kept, or {} where that is nothing, or nothing may be kept here. */
export function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY));
    return found !== null && typeof found === "object" ? found : {};
  } catch {
    return {}; // a browser that keeps nothing, or something else under this name
  }
}

/** Keep the values of a form's fields by their names. */
export function keep(form) {
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(new FormData(form))));
  } catch {
    // Then the next visit begins with the page's own choices.
  }
}

/** Put what was kept into a form, where it can still be chosen. */
export function restore(form) {
  for (const [name, value] of Object.entries(kept())) {
    put(form.elements.namedItem(name), String(value));
  }
}

/** Choose a value in a field, if it is one of those that can be chosen. */
export function put(field, value) {
  const can = field instanceof HTMLSelectElement ? [...field.options].some((each) => each.value === value) : true;
  if (field && can) {
    field.value = value;
  }
}
