// Causal filters for display, second order sections that run sample by sample over all channels, and a Fourier transform.

/** @typedef {[number, number, number, number, number]} Section b0, b1, b2, a1, a2 */

/**
 * A Butterworth section of second order.
 * @param {"low" | "high"} kind of pass
 * @param {number} hertz
 * @param {number} sfreq
 * @returns {Section}
 */
function section(kind, hertz, sfreq) {
  const k = Math.tan((Math.PI * hertz) / sfreq), norm = 1 / (1 + Math.SQRT2 * k + k * k);
  const gain = kind === "low" ? k * k * norm : norm;
  return [gain, kind === "low" ? 2 * gain : -2 * gain, gain, 2 * (k * k - 1) * norm, (1 - Math.SQRT2 * k + k * k) * norm];
}

/**
 * The sections of a pass band; an end of null is left open, as is one that the rate cannot show.
 * @param {number | null} low
 * @param {number | null} high
 * @param {number} sfreq
 */
export function passBand(low, high, sfreq) {
  /** @type {Section[]} */
  const sections = [];
  if (low !== null) sections.push(section("high", low, sfreq));
  if (high !== null && high < 0.45 * sfreq) sections.push(section("low", high, sfreq));
  return sections;
}

/** Sections with their state for each channel. */
export class Filter {
  #sections;
  #state;
  #columns;

  /**
   * @param {Section[]} sections
   * @param {number} columns
   */
  constructor(sections, columns) {
    this.#sections = sections;
    this.#columns = columns;
    this.#state = sections.map(() => new Float64Array(2 * columns));
  }

  /**
   * Filter one row.
   * @param {Float32Array} from
   * @param {Float32Array} to
   * @param {number} at of the row in both
   */
  row(from, to, at) {
    const columns = this.#columns;
    for (let c = 0; c < columns; c += 1) {
      let x = from[at + c];
      if (!Number.isFinite(x)) x = 0;
      for (let s = 0; s < this.#sections.length; s += 1) {
        const [b0, b1, b2, a1, a2] = this.#sections[s], state = this.#state[s];
        const y = b0 * x + state[c];
        state[c] = b1 * x - a1 * y + state[columns + c];
        state[columns + c] = b2 * x - a2 * y;
        x = y;
      }
      to[at + c] = x;
    }
  }
}

/**
 * The Fourier transform in place, of a length that is a power of two.
 * @param {Float64Array} re
 * @param {Float64Array} im
 */
export function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i += 1) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k += 1) {
      const angle = (-2 * Math.PI * k) / size, cos = Math.cos(angle), sin = Math.sin(angle);
      for (let start = k; start < n; start += size) {
        const other = start + half;
        const r = re[other] * cos - im[other] * sin, i = re[other] * sin + im[other] * cos;
        re[other] = re[start] - r;
        im[other] = im[start] - i;
        re[start] += r;
        im[start] += i;
      }
    }
  }
}
