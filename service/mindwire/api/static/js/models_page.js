// The page of models: that of the chosen stream beside another, those in the service's folder, and trainings.

import { Commands } from "./commands.js";
import { byId } from "./dom.js";
import { ModelSwap } from "./model_swap.js";
import { Models } from "./models.js";
import { oneAtATime } from "./one_at_a_time.js";
import { Refused, Unauthorised, get } from "./service.js";
import { mountShell } from "./shell.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";
import { TrainingJobs } from "./training_jobs.js";

const POLL_MS = 2000;
const MODELS_EVERY = 3; // polls

const poll = oneAtATime(ask);
const shell = mountShell({
  page: "models",
  onstream(name) {
    swap.follow(name);
    poll();
  },
});
const dialog = new TokenDialog(poll);
const commands = new Commands(dialog, async () => {
  polls = 0; // what was changed may be a model
  await poll();
});
const swap = new ModelSwap(commands.run);
const models = new Models(commands.run);
const jobs = new TrainingJobs(commands.run);
let polls = 0;

async function ask() {
  if (dialog.asking) return;
  const withModels = polls % MODELS_EVERY === 0;
  polls += 1;
  try {
    const streams = await get("/v1/streams");
    shell.link("open", text("shell.connected"));
    shell.showStreams(streams);
    byId("swap").hidden = !streams.length;
    if (withModels) {
      const listed = await get("/v1/models");
      models.show(listed);
      swap.models(listed);
    }
    if (streams.length) await swap.refresh().catch(unlessRefused);
    await jobs.refresh().catch(unlessRefused);
    await commands.showRights();
  } catch (error) {
    polls = 0;
    if (error instanceof Unauthorised) {
      shell.link("closed", text("shell.token_needed"));
      dialog.ask();
    } else {
      shell.unreachable();
      shell.link("closed", text("shell.no_answer"));
    }
  }
}

/**
 * The stream has ended meanwhile, or its worker does not answer.
 * @param {unknown} error
 */
function unlessRefused(error) {
  if (!(error instanceof Refused)) throw error;
}

poll();
setInterval(() => !document.hidden && poll(), POLL_MS);
