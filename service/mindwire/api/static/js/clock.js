// The page /clock.

import { mountShell } from "./shell.js";

mountShell({ page: "clock" });
