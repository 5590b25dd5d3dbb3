// The words beneath what is shown.

import { hasText, text } from "../texts.js";
import { words } from "../words.js";

/** The word for a class. @param {string} label */
export const className = (label) => (hasText(`class.${label}`) ? text(`class.${label}`) : words(label));

/** @param {import("./steps.js").Step | null} step @param {import("./stage.js").Scene} scene */
export function captionOf(step, scene) {
  switch (step?.phase) {
    case "countdown":
      return text("participant.countdown");
    case "cue":
      return className(step.label ?? "");
    case "rest":
      return text("participant.rest");
    case "break":
      return text("participant.between");
    case "eyes":
      return text(`participant.eyes.${step.label}`);
    case "result":
      if (scene.right === undefined) return "";
      return scene.answer ? text(scene.right ? "participant.right" : "participant.recognised", { class: className(scene.answer) }) : text("participant.undecided");
    case "outcome":
      return text(scene.board?.reached ? "participant.reached" : "participant.missed");
    default:
      return "";
  }
}
