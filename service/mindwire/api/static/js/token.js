// The dialog that asks for the token, on every page that needs one.

import { get, setToken } from "./service.js";

export class TokenDialog {
  asking = false;

  /** ``accepted`` is called once the service has taken a token. */
  constructor(accepted) {
    const part = (id) => document.getElementById(id);
    part("token-form").addEventListener("submit", async (submission) => {
      submission.preventDefault();
      setToken(part("token").value);
      try {
        await get("/v1/streams");
      } catch {
        part("token-wrong").hidden = false;
        return;
      }
      this.asking = false;
      part("token-wrong").hidden = true;
      part("token-dialog").close();
      accepted();
    });
  }

  /** Ask, unless it is being asked. */
  ask() {
    if (this.asking) return;
    this.asking = true;
    document.getElementById("token-dialog").showModal();
  }
}
