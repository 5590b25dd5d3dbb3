// The page /models.

import { mountShell } from "./shell.js";

mountShell({ page: "models" });
