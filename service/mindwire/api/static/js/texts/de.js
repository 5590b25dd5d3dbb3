// All texts, German: one part for each page.

import clock from "./de/clock.js";
import control from "./de/control.js";
import live from "./de/live.js";
import models from "./de/models.js";
import participant from "./de/participant.js";
import progress from "./de/progress.js";
import session from "./de/session.js";
import shell from "./de/shell.js";
import system from "./de/system.js";
import training from "./de/training.js";
import words from "./de/words.js";

/** @type {import("../texts.js").Texts} */
export default { ...clock, ...control, ...live, ...models, ...participant, ...progress, ...session, ...shell, ...system, ...training, ...words };
