// Short tones with soft edges, by WebAudio; none before the first key or click, as browsers demand.

/** Frequency in hertz and length in seconds. @type {Record<string, [number, number]>} */
const TONES = { ready: [440, 0.12], cue: [660, 0.18], end: [523, 0.6], right: [880, 0.15] };
const EDGE_S = 0.02;
const LOUDNESS = 0.25;

export class Sound {
  /** @type {AudioContext | null} */
  #context = null;
  enabled = true;

  /** Called in the handler of a key or click. */
  unlock() {
    this.#context ??= new AudioContext();
    if (this.#context.state === "suspended") this.#context.resume();
  }

  /** True if a tone would be heard. */
  get ready() {
    return this.enabled && this.#context?.state === "running";
  }

  /** @param {string} name */
  play(name) {
    if (!this.#context || !this.ready) return;
    const [frequency, seconds] = TONES[name];
    const begin = this.#context.currentTime;
    const tone = new OscillatorNode(this.#context, { frequency });
    const volume = new GainNode(this.#context, { gain: 0 });
    volume.gain.linearRampToValueAtTime(LOUDNESS, begin + EDGE_S);
    volume.gain.setValueAtTime(LOUDNESS, begin + seconds - EDGE_S);
    volume.gain.linearRampToValueAtTime(0, begin + seconds);
    tone.connect(volume).connect(this.#context.destination);
    tone.start(begin);
    tone.stop(begin + seconds);
  }
}
