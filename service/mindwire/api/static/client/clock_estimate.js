// Estimate of a clock that is read over a network beside one's own: offset, drift, and how uncertain both are.
//
// Each round trip bounds the offset from both sides: the request cannot have been received before it was sent, nor the answer
// have come back before it was given. Of each ten seconds the tightest bound of each side is kept (a minimum filter in each
// direction); a robust line through them (Theil-Sen) gives the drift; and the bounds, moved to the present along this line and widened
// by what is not known of the drift, leave an interval that contains the offset. Its middle is the estimate, and half its width is the
// uncertainty: half of the smallest round trip, plus what the line leaves open. A delay in one direction alone cannot be
// measured from the two ends; it widens the interval, and stays inside it.

const BLOCK_MS = 10_000;
const BLOCKS = 60;
const MIN_BLOCKS = 4; // for a drift
const MIN_DISTANCE_MS = 30_000; // between two blocks that give a slope
const LARGEST_DRIFT = 200e-6; // of two quartz clocks, while nothing is known
const WANDER = 1e-6; // of the drift itself, with temperature
const TOLERANCE_MS = 0.5;
const STEP_MS = 1; // what both sides' bounds may move together from one block to the next
const AGREEING = 2; // round trips that contradict the estimate alike are a jump
const ENOUGH = 8; // round trips

/**
 * @typedef {object} RoundTrip
 * @property {number} sent own clock when the request was sent, ms
 * @property {number} returned own clock when the answer arrived, ms
 * @property {number} received other clock when the request arrived, s
 * @property {number} answered other clock when the answer was given, s
 */

/**
 * @typedef {object} Block tightest bounds of a part of the time: values, and the own times that they are of, ms
 * @property {number} start
 * @property {number} upper
 * @property {number} upperAt
 * @property {number} lower
 * @property {number} lowerAt
 */

/** @param {number[]} values */
function median(values) {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

export class ClockEstimate {
  /** @type {Block[]} */
  #blocks = [];
  /** @type {RoundTrip[]} */
  #contradicting = [];
  #drift = 0;
  #slack = LARGEST_DRIFT;
  #at = 0;
  #offset = NaN;
  #resolution;
  #shortest = Infinity;
  samples = 0;

  /** @param {number} [resolution_ms] step in which the own clock advances */
  constructor(resolution_ms = 0) {
    this.#resolution = resolution_ms;
  }

  /** Own clock, ms: the last round trip. */
  get at() {
    return this.#at;
  }

  get synchronised() {
    return this.samples >= ENOUGH;
  }

  get drift_ppm() {
    return this.#drift * 1e6;
  }

  /** Shortest round trip, without the time that the other side took, ms. */
  get round_trip_ms() {
    return this.#shortest;
  }

  /**
   * Take a round trip. Returns by how many milliseconds the clocks have jumped against each other, 0 if they have not.
   * @param {RoundTrip} trip
   */
  add(trip) {
    const upper = trip.received * 1000 - trip.sent;
    const lower = trip.answered * 1000 - trip.returned;
    if (!(upper >= lower)) return 0; // no time can pass backwards: not a round trip
    if (this.samples && this.#contradicts(trip, upper, lower)) return this.#jumped(trip);
    this.#contradicting = [];
    return this.#take(trip, upper, lower);
  }

  /** Other clock minus own clock at a moment of the own clock, ms. @param {number} ms */
  offset_ms(ms) {
    return this.#offset + this.#drift * (ms - this.#at);
  }

  /** Most that the offset may be wrong at a moment of the own clock, ms. @param {number} ms */
  uncertainty_ms(ms) {
    if (!this.samples) return Infinity;
    const offset = this.offset_ms(ms);
    return Math.max(...this.#interval(ms).map((bound) => Math.abs(bound - offset))) + this.#resolution;
  }

  /** Moment of the other clock, s. @param {number} ms of the own clock */
  toOther(ms) {
    return (ms + this.offset_ms(ms)) / 1000;
  }

  /** Moment of the own clock, ms. @param {number} seconds of the other clock */
  toOwn(seconds) {
    return (seconds * 1000 - this.#offset + this.#drift * this.#at) / (1 + this.#drift);
  }

  /**
   * Take a round trip that does not contradict the estimate; returns a jump that only the line through the blocks shows.
   * @param {RoundTrip} trip
   * @param {number} upper
   * @param {number} lower
   */
  #take(trip, upper, lower) {
    let by = 0;
    this.samples += 1;
    const expected = this.offset_ms(trip.returned);
    this.#at = trip.returned;
    this.#shortest = Math.min(this.#shortest, upper - lower);
    let block = this.#blocks.at(-1);
    if (!block || trip.sent - block.start >= BLOCK_MS) {
      block = { start: trip.sent, upper, upperAt: trip.sent, lower, lowerAt: trip.returned };
      this.#blocks.push(block);
      if (this.#blocks.length > BLOCKS) this.#blocks.shift();
      by = this.#step();
      if (!by) this.#fitDrift();
    } else {
      // compared along the line
      if (upper - this.#drift * (trip.sent - block.upperAt) < block.upper) [block.upper, block.upperAt] = [upper, trip.sent];
      if (lower - this.#drift * (trip.returned - block.lowerAt) > block.lower) [block.lower, block.lowerAt] = [lower, trip.returned];
    }
    let [low, high] = this.#interval(this.#at);
    const contradictory = low > high;
    if (contradictory) {
      // another drift or a jump, and no block says since when: this round trip alone is certain
      this.#blocks = [{ start: trip.sent, upper, upperAt: trip.sent, lower, lowerAt: trip.returned }];
      this.#slack = LARGEST_DRIFT;
      [low, high] = this.#interval(this.#at);
    }
    this.#offset = (low + high) / 2;
    if (contradictory && Math.abs(this.#offset - expected) > TOLERANCE_MS) return this.#offset - expected;
    return by;
  }

  /** Bounds of the offset at a moment of the own clock. @param {number} ms @returns {[number, number]} */
  #interval(ms) {
    let low = -Infinity;
    let high = Infinity;
    for (const { upper, upperAt, lower, lowerAt } of this.#blocks) {
      high = Math.min(high, upper + this.#drift * (ms - upperAt) + this.#slack * Math.abs(ms - upperAt));
      low = Math.max(low, lower + this.#drift * (ms - lowerAt) - this.#slack * Math.abs(ms - lowerAt));
    }
    return [low, high];
  }

  /**
   * A jump that is too small to contradict the bounds: both sides of the last two complete blocks are off the line of the earlier ones,
   * in one direction and by more than these scatter. Forgets what was before, and returns the milliseconds; 0 for none.
   */
  #step() {
    const before = this.#blocks.slice(0, -3);
    const after = this.#blocks.slice(-3, -1);
    if (before.length < 2 * MIN_BLOCKS) return 0;
    const middles = this.#residuals(before).map(median);
    const moved = this.#residuals(after).flatMap((values, i) => values.map((value) => value - middles[i]));
    const least = Math.min(...moved.map(Math.abs));
    // delays move the upper bounds up and the lower ones down, so that they cannot look like this
    if (least <= STEP_MS + this.#scatter(before) || !moved.every((value) => value > 0 === moved[0] > 0)) return 0;
    this.#blocks = this.#blocks.slice(-2); // the first of the two may have begun before the jump
    return median(moved);
  }

  /** The bounds of blocks without the drift: upper and lower ones. @param {Block[]} blocks */
  #residuals(blocks) {
    return [blocks.map(({ upper, upperAt }) => upper - this.#drift * upperAt), blocks.map(({ lower, lowerAt }) => lower - this.#drift * lowerAt)];
  }

  /** Root mean square of what blocks are off the line. A robust measure is too small now and then, of few blocks. @param {Block[]} blocks */
  #scatter(blocks) {
    const off = this.#residuals(blocks).flatMap((values) => values.map((value) => value - median(values)));
    return Math.sqrt(off.reduce((sum, value) => sum + value * value, 0) / (off.length - 2));
  }

  /** Theil-Sen through the tightest bounds of both sides, without the block that has just begun. */
  #fitDrift() {
    const blocks = this.#blocks.slice(0, -1);
    if (blocks.length < MIN_BLOCKS) return;
    const slopes = [];
    for (const [i, one] of blocks.entries()) {
      for (const other of blocks.slice(i + 1)) {
        if (other.start - one.start < MIN_DISTANCE_MS) continue;
        slopes.push((other.upper - one.upper) / (other.upperAt - one.upperAt), (other.lower - one.lower) / (other.lowerAt - one.lowerAt));
      }
    }
    if (!slopes.length) return;
    const drift = Math.max(-LARGEST_DRIFT, Math.min(LARGEST_DRIFT, median(slopes)));
    this.#drift = drift;
    const span = blocks[blocks.length - 1].start - blocks[0].start;
    // three standard errors of a slope
    this.#slack = Math.min(LARGEST_DRIFT, WANDER + (3 * this.#scatter(blocks) * Math.sqrt(12 / (2 * blocks.length))) / span);
  }

  /** @param {RoundTrip} trip @param {number} upper @param {number} lower */
  #contradicts(trip, upper, lower) {
    const expected = this.offset_ms(trip.returned);
    const margin = this.uncertainty_ms(trip.returned) + TOLERANCE_MS;
    return lower > expected + margin || upper < expected - margin;
  }

  /** @param {RoundTrip} trip */
  #jumped(trip) {
    const above = trip.answered * 1000 - trip.returned > this.offset_ms(trip.returned);
    const before = this.#contradicting.at(-1);
    if (before && before.answered * 1000 - before.returned > this.offset_ms(before.returned) !== above) this.#contradicting = [];
    this.#contradicting.push(trip);
    if (this.#contradicting.length < AGREEING) return 0;
    const expected = this.offset_ms(trip.returned);
    const trips = this.#contradicting;
    this.#contradicting = [];
    this.#blocks = [];
    this.#shortest = Infinity;
    this.#at = -Infinity;
    this.#slack = LARGEST_DRIFT;
    for (const one of trips) this.#take(one, one.received * 1000 - one.sent, one.answered * 1000 - one.returned);
    return this.offset_ms(trip.returned) - expected;
  }
}
