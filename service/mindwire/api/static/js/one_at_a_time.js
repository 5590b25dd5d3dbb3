// Questions to the service that are asked again and again, and do not overtake each other.

/**
 * A function that does not run twice at once: calls while it runs are answered by one more run after it.
 * @param {() => Promise<unknown>} act
 * @returns {() => Promise<void>}
 */
export function oneAtATime(act) {
  /** @type {Promise<void> | null} */
  let running = null;
  /** @type {Promise<void> | null} */
  let next = null;
  const run = async () => {
    try {
      await act();
    } finally {
      running = null;
    }
  };
  return () => {
    if (!running) return (running = run());
    const again = () => {
      next = null;
      return (running = run());
    };
    return (next ??= running.then(again, again));
  };
}
