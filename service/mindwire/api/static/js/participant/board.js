// The grid of a control run: decisions move a cursor one step each, towards a target. The same rules as sources/steering.py.

export const BORDER = 3;

/** @typedef {Record<string, [number, number]>} Moves step of each class, x to the right and y upwards */

/** Steps of the classes that have one of their own. @type {Moves} */
export const MOVES = { left_hand: [-1, 0], right_hand: [1, 0], feet: [0, -1], tongue: [0, 1] };

const FREE = /** @type {[number, number][]} */ ([[-1, 0], [1, 0], [0, -1], [0, 1]]);

/**
 * Direction of each class: that of the movement where it has one, else one that is free, else one in between.
 *
 * @param {string[]} classes
 * @param {Moves} moves
 * @returns {Map<string, [number, number]>} unit vectors, x to the right and y upwards
 */
export function directionsOf(classes, moves = MOVES) {
  const taken = new Map(classes.filter((label) => label in moves).map((label) => [label, moves[label]]));
  const free = FREE.filter((move) => ![...taken.values()].some(([x, y]) => x === move[0] && y === move[1]));
  classes.filter((label) => !taken.has(label)).forEach((label, at) => {
    const angle = Math.PI / 4 + (at - free.length) * (Math.PI / 2);
    taken.set(label, free[at] ?? [Math.cos(angle), Math.sin(angle)]);
  });
  return new Map(classes.map((label) => [label, /** @type {[number, number]} */ (taken.get(label))]));
}

export class Board {
  /** @type {[number, number]} */
  cursor = [0, 0];
  decisions = 0;
  wrong = 0;

  /** @param {string} label of the trial: ``target X Y``, in steps from the centre @param {Moves} moves */
  constructor(label, moves = MOVES) {
    const [, x, y] = label.split(" ").map(Number);
    /** @type {[number, number]} */
    this.target = [x, y];
    this.moves = moves;
  }

  /** Steps that are left. */
  get distance() {
    return Math.abs(this.target[0] - this.cursor[0]) + Math.abs(this.target[1] - this.cursor[1]);
  }

  get reached() {
    return this.distance === 0;
  }

  /** Take a decision: the cursor moves, up to the border. @param {string} label */
  move(label) {
    const [dx, dy] = this.moves[label] ?? [0, 0];
    const before = this.distance;
    const within = (/** @type {number} */ value) => Math.max(-BORDER, Math.min(BORDER, value));
    this.cursor = [within(this.cursor[0] + dx), within(this.cursor[1] + dy)];
    this.decisions += 1;
    if (this.distance >= before) this.wrong += 1;
  }
}
