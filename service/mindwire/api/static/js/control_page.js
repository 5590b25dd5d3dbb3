// The page /control.

import { mountShell } from "./shell.js";

mountShell({ page: "control" });
