// The dialog that asks for the token, on every page that needs one.

import { byId } from "./dom.js";
import { currentToken, get, setToken } from "./service.js";

export class TokenDialog {
  asking = false;

  /** @param {() => void} accepted called once the service has taken a token */
  constructor(accepted) {
    byId("token-form").addEventListener("submit", async (submission) => {
      submission.preventDefault();
      setToken(byId("token", HTMLInputElement).value);
      try {
        await get("/v1/streams");
      } catch {
        byId("token-wrong").hidden = false;
        return;
      }
      this.asking = false;
      byId("token-wrong").hidden = true;
      byId("token-dialog", HTMLDialogElement).close();
      accepted();
    });
  }

  /** Ask, unless it is being asked; say if there was a token that was not accepted. */
  ask() {
    if (this.asking) return;
    this.asking = true;
    byId("token-wrong").hidden = !currentToken();
    byId("token-dialog", HTMLDialogElement).showModal();
  }
}
