// What all pages share: header with navigation, the streams as tabs, theme, language, and the dialogs.

import { button, element, fill, labelled } from "./dom.js";
import { adoptTokenFromAddress } from "./service.js";
import { applyTexts, language, setLanguage, text } from "./texts.js";

const PAGES = /** @type {const} */ ([["live", "/"], ["session", "/session"], ["control", "/control"], ["models", "/models"], ["system", "/system"], ["clock", "/clock"], ["docs", "/docs"]]);
const LANGUAGES = /** @type {const} */ ([["en", "English"], ["de", "Deutsch"]]);
const THEMES = ["auto", "light", "dark"];
const THEME_KEPT_AS = "mindwire-theme";

/** @typedef {(typeof PAGES)[number][0]} PageName */
/** @typedef {{name: string, state: string, state_reason?: string}} StreamLine */

/** The name in the address's ``#stream``; empty without one. */
const nameInAddress = () => decodeURIComponent(location.hash.slice(1));

/**
 * Put the header before ``main`` and the dialogs after it, and fill in the texts of the page.
 * @param {{page: PageName, onstream?: (name: string) => void}} options ``onstream`` is called when another stream is chosen;
 *   without it the page has no tabs of streams
 */
export const mountShell = (options) => new Shell(options);

/** The header: its tabs, its link state, and the stream that the page is about. */
export class Shell {
  /** @type {string | null} */
  #stream = null;
  #choose;
  #page;
  #tabs = element("div", { class: "tabs", id: "streams", role: "group", "aria-label": text("shell.streams") });
  #nav = element("nav", { "aria-label": text("shell.pages") });
  #linkText = element("span", { id: "link-text", text: text("shell.connecting") });
  #link = element("p", { class: "link", id: "link", "data-state": "connecting", role: "status" }, element("span", { class: "dot", "aria-hidden": "true" }), this.#linkText);

  /** @param {{page: PageName, onstream?: (name: string) => void}} options */
  constructor({ page, onstream }) {
    this.#page = page;
    this.#choose = onstream;
    adoptTokenFromAddress();
    const icon = element("img", { src: "/static/icon.svg", alt: "", width: "30", height: "30" });
    const brand = element("a", { class: "brand", href: "/", "aria-label": text("shell.brand") }, icon, element("span", { text: "Mindwire" }));
    const header = element("header", { class: "top" }, brand, this.#nav, onstream ? this.#tabs : element("span", { class: "tabs" }), this.#link, themeSwitch(), languageSwitch());
    document.body.prepend(element("a", { class: "skip", href: "#main", text: text("shell.skip") }), header);
    document.body.append(confirmDialog(), tokenDialog());
    document.querySelector(".skip")?.addEventListener("click", (event) => {
      event.preventDefault(); // the address names the stream
      document.getElementById("main")?.focus();
    });
    applyTexts(document);
    this.#showPages();
    addEventListener("hashchange", () => {
      if (nameInAddress() && nameInAddress() !== this.#stream) this.choose(nameInAddress());
    });
  }

  /** The name of the stream the page is about, null while there is none. */
  get stream() {
    return this.#stream;
  }

  /** @param {string} name */
  choose(name) {
    if (name === this.#stream) return;
    this.#stream = name;
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    this.#showPages();
    for (const tab of this.#tabs.children) tab.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (tab).dataset.name === name));
    this.#choose?.(name);
  }

  /**
   * Show the streams as tabs; the first time, and when the chosen one has ended, choose that of the address or the first.
   * @param {StreamLine[]} streams
   */
  showStreams(streams) {
    const tabs = /** @type {HTMLCollectionOf<HTMLElement>} */ (this.#tabs.children);
    if (tabs.length !== streams.length || streams.some(({ name }, i) => tabs[i].dataset.name !== name)) this.#tabs.replaceChildren(...streams.map(({ name }) => this.#tab(name)));
    streams.forEach(({ name, state, state_reason: reason }, i) => {
      tabs[i].dataset.state = state;
      tabs[i].title = reason ?? "";
      tabs[i].setAttribute("aria-pressed", String(name === this.#stream));
    });
    if (streams.length && !streams.some(({ name }) => name === this.#stream)) this.choose((streams.find(({ name }) => name === nameInAddress()) ?? streams[0]).name);
  }

  /** Nothing is known of any stream any more. */
  unreachable() {
    for (const tab of /** @type {HTMLCollectionOf<HTMLElement>} */ (this.#tabs.children)) {
      tab.dataset.state = "unknown";
      tab.title = text("shell.no_answer");
    }
  }

  /**
   * The state of the connection: a colour and words.
   * @param {"connecting" | "open" | "closed"} state
   * @param {string} words
   */
  link(state, words) {
    this.#link.dataset.state = state;
    if (this.#linkText.textContent !== words) this.#linkText.textContent = words;
  }

  /** @param {string} name */
  #tab(name) {
    const tab = button("", () => this.choose(name));
    tab.dataset.name = name;
    tab.append(element("span", { class: "dot", "aria-hidden": "true" }), element("span", { text: name }));
    return tab;
  }

  /** The navigation keeps the stream. */
  #showPages() {
    const about = this.#stream === null ? location.hash : `#${encodeURIComponent(this.#stream)}`;
    this.#nav.replaceChildren(...PAGES.map(([name, path]) => element("a", { href: path + about, text: text(`shell.${name}`), "aria-current": name === this.#page && "page" })));
  }
}

function themeSwitch() {
  const select = element("select", { id: "theme", "aria-label": text("shell.theme"), title: text("shell.theme") });
  fill(select, THEMES.map((theme) => [theme, text(`shell.theme.${theme}`)]));
  select.value = document.documentElement.dataset.theme ?? "auto";
  select.addEventListener("change", () => {
    if (select.value === "auto") {
      localStorage.removeItem(THEME_KEPT_AS);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(THEME_KEPT_AS, select.value);
      document.documentElement.dataset.theme = select.value;
    }
    document.dispatchEvent(new Event("themechange"));
  });
  return select;
}

/** Another language loads the page again: much of its text is drawn, or made while it runs. */
function languageSwitch() {
  const select = element("select", { id: "language", "aria-label": text("shell.language"), title: text("shell.language") });
  select.replaceChildren(...LANGUAGES.map(([code, name]) => element("option", { value: code, lang: code, text: name })));
  select.value = language();
  select.addEventListener("change", () => {
    setLanguage(/** @type {import("./texts.js").Language} */ (select.value));
    location.reload();
  });
  return select;
}

/** The dialog of ``confirmed`` in dom.js. */
function confirmDialog() {
  const cancel = element("button", { value: "", autofocus: true, text: text("shell.cancel") });
  const yes = element("button", { value: "yes", class: "danger", id: "confirm-yes", text: text("shell.yes") });
  const form = element("form", { method: "dialog" }, element("p", { id: "confirm-text" }), element("p", { class: "buttons" }, cancel, yes));
  return element("dialog", { id: "confirm", "aria-labelledby": "confirm-text" }, form);
}

/** The dialog of ``TokenDialog`` in token.js. */
function tokenDialog() {
  const input = element("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const form = element(
    "form",
    { method: "dialog", id: "token-form" },
    element("h2", { id: "token-title", text: text("shell.token.title") }),
    element("p", { text: text("shell.token.where") }),
    labelled(text("shell.token.label"), input),
    element("p", { class: "wrong", id: "token-wrong", role: "alert", hidden: true, text: text("shell.token.wrong") }),
    element("button", { type: "submit", class: "primary", text: text("shell.token.connect") }),
  );
  return element("dialog", { id: "token-dialog", "aria-labelledby": "token-title" }, form);
}
