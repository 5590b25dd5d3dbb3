// The full-screen page for the person: no navigation.

import { applyTexts } from "./texts.js";

applyTexts(document);
