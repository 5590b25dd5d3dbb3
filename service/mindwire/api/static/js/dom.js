// Elements made in one expression, and text that changes only when it is another.

/**
 * The element of that id, which the page must have, as the class it is of.
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @param {(new () => T)} [kind]
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof (kind ?? HTMLElement))) throw new Error(`The page has no ${kind?.name ?? "element"} ${id}.`);
  return /** @type {T} */ (/** @type {unknown} */ (found));
}

/**
 * The first element in ``root`` for a selector, which must be there.
 * @param {ParentNode} root
 * @param {string} selector
 */
export function part(root, selector) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`There is no ${selector}.`);
  return found;
}

/**
 * The field of a form by its name, which the form must have.
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {HTMLInputElement}
 */
export const field = (form, name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));

/** @typedef {{class?: string, text?: string, [attribute: string]: string | number | boolean | undefined}} Properties */

/**
 * An element with properties (``class``, ``text`` and attributes) and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Properties} [properties]
 * @param {(Node | string)[]} children
 */
export function element(tag, { class: className, text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) if (value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : String(value));
  made.append(...children);
  return made;
}

/**
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} act
 * @param {string} [className]
 */
export const button = (text, act, className = "") => {
  const made = element("button", { type: "button", text, class: className });
  made.addEventListener("click", act);
  return made;
};

/**
 * @param {string} text
 * @param {HTMLElement} input
 */
export const labelled = (text, input) => element("label", { text: `${text} ` }, input);

/**
 * Set text, and leave the node alone where it is the same: assistive technology announces changes.
 * @param {Element} node
 * @param {string} text
 */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Fill a select with options, ``[value, text]``, and keep what is chosen; does nothing while they are the same.
 * @param {HTMLSelectElement} select
 * @param {(readonly [string | number, string])[]} options
 */
export function fill(select, options) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options === wanted) return;
  const chosen = select.value;
  select.dataset.options = wanted;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/**
 * Ask before something that cannot be undone; true if it is wanted.
 * @param {string} text
 * @param {string} yes of the button that goes on
 * @returns {Promise<boolean>}
 */
export function confirmed(text, yes) {
  const dialog = byId("confirm", HTMLDialogElement);
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
