// The page /session.

import { mountShell } from "./shell.js";

mountShell({ page: "session" });
