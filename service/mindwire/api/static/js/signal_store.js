// The newest seconds of the signal for display, as it came, in a ring of rows.

/** @typedef {import("./types.d.ts").Position} Position */

const KEPT_S = 21;
const HEAD_BYTES = 16;

export class SignalStore {
  /** @type {string[]} */
  channels = [];
  /** @type {(Position | null)[]} */
  positions = [];
  unit = "";
  sfreq = 125;
  capacity = 0; // rows
  written = 0; // rows since the beginning; row i is at i % capacity
  times = new Float64Array(0);
  values = new Float32Array(0);

  /** @param {import("./types.d.ts").SignalHello} hello */
  begin({ channels, unit, sfreq, positions }) {
    this.channels = channels;
    this.positions = positions ?? channels.map(() => null);
    this.unit = unit;
    this.sfreq = sfreq;
    this.capacity = Math.ceil(KEPT_S * sfreq);
    this.times = new Float64Array(this.capacity).fill(NaN);
    this.values = new Float32Array(this.capacity * channels.length);
    this.written = 0;
  }

  clear() {
    this.times.fill(NaN);
    this.written = 0;
  }

  /** The first row that is still kept. */
  get first() {
    return Math.max(0, this.written - this.capacity);
  }

  /** The time of the newest row. */
  get newest() {
    return this.written ? this.time(this.written - 1) : NaN;
  }

  /** @param {number} row */
  time(row) {
    return this.times[row % this.capacity];
  }

  /**
   * True where time jumps before a row.
   * @param {number} row
   */
  breaks(row) {
    return row <= this.first || Math.abs(this.time(row) - this.time(row - 1)) > 1.6 / this.sfreq;
  }

  /**
   * The first kept row at that time or later.
   * @param {number} time
   */
  rowAt(time) {
    let row = this.written;
    const { first } = this;
    while (row > first && this.time(row - 1) >= time) row -= 1;
    return row;
  }

  /**
   * Take a block as the service sends it: float64 time, uint32 rows, uint32 columns, float32 samples, little-endian.
   * @param {ArrayBuffer} block
   * @returns {number} rows taken; none of a block that is not of these channels
   */
  add(block) {
    const head = new DataView(block, 0, HEAD_BYTES);
    const time = head.getFloat64(0, true), rows = head.getUint32(8, true), columns = head.getUint32(12, true);
    if (columns !== this.channels.length || columns === 0) return 0;
    const samples = new Float32Array(block, HEAD_BYTES);
    for (let row = 0; row < rows; row += 1) {
      const slot = this.written % this.capacity;
      this.times[slot] = time + row / this.sfreq;
      this.values.set(samples.subarray(row * columns, (row + 1) * columns), slot * columns);
      this.written += 1;
    }
    return rows;
  }
}
