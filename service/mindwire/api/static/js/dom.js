// Elements made in one expression, and text that changes only when it is another.

/** An element with properties (``class``, ``text`` and attributes) and children. */
export function element(tag, { class: className, text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) if (value !== false) made.setAttribute(name, value === true ? "" : value);
  made.append(...children);
  return made;
}

export const button = (text, act, className = "") => {
  const made = element("button", { type: "button", text, class: className });
  made.addEventListener("click", act);
  return made;
};

export const labelled = (text, input) => element("label", { text: `${text} ` }, input);

/** Set text, and leave the node alone where it is the same: assistive technology announces changes. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Fill a select with options, ``[value, text]``, and keep what is chosen; does nothing while they are the same. */
export function fill(select, options) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options === wanted) return;
  const chosen = select.value;
  select.dataset.options = wanted;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/** Ask before something that cannot be undone; true if it is wanted. */
export function confirmed(text, yes) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
