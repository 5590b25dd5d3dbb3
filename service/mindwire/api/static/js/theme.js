// Before anything is drawn: the theme and language of the last choice. A classic script, so that no page flashes.

"use strict";

{
  const theme = localStorage.getItem("mindwire-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  document.documentElement.lang = localStorage.getItem("mindwire-language") ?? (navigator.language.startsWith("de") ? "de" : "en");
}
