// The newest seconds of the signal for display, as it came, in a ring of rows.

const KEPT_S = 21;

export class SignalStore {
  /** @type {string[]} */
  channels = [];
  /** @type {import("../client/signal.js").SignalHello["positions"]} */
  positions = [];
  unit = "";
  sfreq = 125;
  capacity = 0; // rows
  written = 0; // rows since the beginning; row i is at i % capacity
  times = new Float64Array(0);
  values = new Float32Array(0);

  /** @param {import("../client/signal.js").SignalHello} hello */
  begin({ channels, unit, sfreq, positions }) {
    this.channels = channels;
    this.positions = positions;
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
   * Take a block.
   * @param {import("../client/signal.js").SignalBlock} block
   * @returns {number} rows taken; none of a block that is not of these channels
   */
  add({ time, n_samples: rows, n_channels: columns, samples }) {
    if (columns !== this.channels.length || columns === 0) return 0;
    for (let row = 0; row < rows; row += 1) {
      const slot = this.written % this.capacity;
      this.times[slot] = time + row / this.sfreq;
      this.values.set(samples.subarray(row * columns, (row + 1) * columns), slot * columns);
      this.written += 1;
    }
    return rows;
  }
}
