// All texts, English: one part for each page.

import clock from "./en/clock.js";
import control from "./en/control.js";
import live from "./en/live.js";
import models from "./en/models.js";
import participant from "./en/participant.js";
import progress from "./en/progress.js";
import session from "./en/session.js";
import shell from "./en/shell.js";
import system from "./en/system.js";
import training from "./en/training.js";
import words from "./en/words.js";

/** @type {import("../texts.js").Texts} */
export default { ...clock, ...control, ...live, ...models, ...participant, ...progress, ...session, ...shell, ...system, ...training, ...words };
