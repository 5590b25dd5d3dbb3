// What the service sends, as far as the pages use it; docs/protocol.md describes it.

export interface ChannelQuality {
  label: string;
  verdict: "ok" | "suspect" | "bad";
  reasons: string[];
  score: number | null;
  amplitude: number | null;
  line_ratio: number | null;
  muscle_ratio: number | null;
  drift: number | null;
}

export interface Adaptation {
  kind: string;
  ready: boolean;
  frozen: boolean;
  good_seconds: number;
  drift: number;
  alarm: boolean;
  rest_left_out_s: number;
}

export interface LastDecision {
  class: string;
  seq: number;
  time: number;
  confidence: number;
  age_s: number;
}

export interface StreamStatus {
  name: string;
  state: string;
  state_reason: string;
  ready: boolean;
  source: { name: string; type: string; hostname: string; sfreq: number } | null;
  model: { name: string; sha256: string; engine: string; device: string; engine_reason: string; notice: string };
  has_model: boolean;
  classes: string[];
  channels: string[];
  sfreq: number;
  window_samples: number;
  hop_samples: number;
  counters: { predictions: number; valid: number; gaps: number; reconnects: number; skipped: number };
  drift_ppm: number | null;
  effective_rate: number | null;
  valid_in_s: number | null;
  recording: string | null;
  to_record: boolean;
  free_bytes: number | null;
  adaptation: Adaptation | null;
  control: { last: LastDecision | null; state: string; paused: boolean } | null;
  quality: ChannelQuality[];
}

export interface Axis {
  name: string;
  positive: string | null;
  negative: string | null;
}

export interface Decide {
  commit: number | Record<string, number>;
  release: number | Record<string, number>;
  dwell_s: number;
  refractory_s: number;
}

export interface FrontierPoint {
  false_per_minute: number;
  right: number;
  wrong_first: number;
  evidence: { kind: string };
  decide: Decide;
}

export interface Policy {
  evidence: { kind: string };
  decide: Decide;
  idle: string | null;
  axes: Axis[];
  tuning: { budget_per_minute: number; proven_per_minute: number; rest_minutes: number; trials: number; frontier: FrontierPoint[] } | null;
}

export interface Control {
  policy: Policy | null;
  paused: boolean;
}

export type { Axes as AxisValues, Decision, Hello, Prediction, Shadow } from "../client/messages.js";

export interface Marker {
  label: string;
  time: number;
}

export interface StreamEvent {
  type: "event";
  kind: string;
  stream: string;
  message: string;
  unix_time: number;
  data: Record<string, any>;
}

export type Position = [number, number, number];

export interface Model {
  id: string | null;
  name: string;
  sha256: string;
  classes: string[];
  error: string | null;
  streams: string[];
  notice: string;
  engine: string;
  device: string;
  card: string;
  contract: any;
  policy: any;
  lineage: { recordings: { file: string; sha256: string }[] } | null;
}

export interface Comparison {
  pairs: number;
  agreement: number;
  difference: number;
  confidence: [number, number];
  decisions: [Record<string, number>, Record<string, number>];
}

export interface Candidate {
  name: string;
  sha256: string;
  when: string;
  state: string;
  valid_in_s: number | null;
  load: number | null;
  comparison: Comparison | null;
}

export interface Swap {
  in_use: { name: string; sha256: string; engine: string; device: string };
  candidate: Candidate | null;
  previous: { name: string; sha256: string; warm_for_s: number } | null;
}
