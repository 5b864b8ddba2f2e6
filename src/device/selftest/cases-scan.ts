/**
 * @file Problems for the elementwise scans. Sizes are odd, documents begin in the middle of rows, and what decays is
 * pushed to where nothing is left of it or nothing is lost.
 */
import { SCAN_STEPS } from '../kernels.js';
import type { BufferValue, Problem, Value } from './problem.js';
import { CaseRandom, byteValue, floatValue, output } from './problem.js';

/** Documents that begin at random steps, and one at the first step of the first row. */
const resets = (random: CaseRandom, B: number, T: number): BufferValue =>
  byteValue(Array.from({ length: B * T }, (_, at) => (at === 0 || random.uniform() < 0.15 ? 1 : 0)));

interface ScanOptions {
  state?: boolean;
  stateOut?: boolean;
  reset?: boolean;
}

const flagsOf = (options: object): string =>
  Object.entries(options)
    .filter(([, value]) => value !== false)
    .map(([name, value]) => (value === true ? name : `${name}=${String(value)}`))
    .join(' ');

interface SelectiveOptions extends ScanOptions {
  skip?: boolean;
  /** Steps so long, or so short, that exp(delta A) is 0 or 1. */
  delta?: number;
}

function selectiveScan(B: number, T: number, D: number, N: number, options: SelectiveOptions = {}): Problem {
  const { state = false, stateOut = false, reset = false, skip = false, delta } = options;
  const name = `B=${B} T=${T} D=${D} N=${N} ${flagsOf(options)}`;
  const random = new CaseRandom(`selective scan ${name}`);
  const positive = (length: number, scale: number): BufferValue =>
    floatValue(Array.from({ length }, () => scale * Math.log1p(Math.exp(random.normal()))));
  const values: Record<string, Value> = {
    y: output(B * T * D),
    stateOut: stateOut ? output(B * D * N) : null,
    saved: output(B * Math.ceil(T / SCAN_STEPS) * D * N),
    u: random.floats(B * T * D),
    delta: positive(B * T * D, delta ?? 0.2),
    A: floatValue(Array.from({ length: D * N }, (_, at) => -((at % N) + 0.5 + random.uniform()))),
    Bm: random.floats(B * T * N),
    C: random.floats(B * T * N),
    skip: skip ? random.floats(D) : null,
    stateIn: state ? random.floats(B * D * N) : null,
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    D,
    N,
  };
  return { name, forward: 'selectiveScanForward', backward: 'selectiveScanBackward', values };
}

function selectiveProblems(): Problem[] {
  const all = { state: true, stateOut: true, reset: true, skip: true };
  const frozen = selectiveScan(2, 11, 9, 4, { skip: true, state: true });
  const decoding = selectiveScan(3, 1, 70, 16, { skip: true, state: true, stateOut: true });
  return [
    selectiveScan(2, 19, 33, 5, all),
    selectiveScan(2, 19, 33, 5),
    selectiveScan(2, 19, 33, 5, { ...all, reset: false }),
    selectiveScan(1, 70, 130, 16, { ...all, state: false }),
    selectiveScan(3, 64, 64, 16, { skip: true, stateOut: true }),
    selectiveScan(2, 33, 17, 16, all),
    selectiveScan(1, 1, 5, 3, all),
    selectiveScan(2, 1, 5, 3, { ...all, reset: false }),
    selectiveScan(2, 0, 5, 3, all), // no steps: the state stays as it is
    selectiveScan(2, 37, 2, 1, { stateOut: true }),
    selectiveScan(1, 65, 3, 37, all),
    selectiveScan(70, 3, 150, 2, { skip: true }), // more sequences than blocks of channels are summed apart
    selectiveScan(2, 40, 9, 8, { ...all, delta: 300 }),
    selectiveScan(2, 40, 9, 8, { ...all, delta: 1e-5 }),
    // A memory of thousands of steps adds up their roundings. [8.0e-7 on the cpu device]
    { ...selectiveScan(1, 5000, 3, 4, { stateOut: true, delta: 0.002 }), amplification: 3 },
    // Parameters that are not trained.
    { ...frozen, name: `${frozen.name} frozen`, unwanted: ['dA', 'dskip', 'dstateIn'] },
    // As in decoding: nothing saved, no backward pass.
    {
      name: `${decoding.name} nothing saved`,
      forward: decoding.forward,
      values: { ...decoding.values, saved: null },
    },
  ];
}

interface WkvOptions extends ScanOptions {
  /** A state written out that holds nothing. */
  empty?: boolean;
  /** Keys near +-1e4. */
  extreme?: boolean;
  /** Rates of decay around this. */
  rate?: number;
}

/** Sums as a running scan holds them: b >= 1, |a| < b. */
function wkvState(random: CaseRandom, units: number): BufferValue {
  const b = Array.from({ length: units }, () => 1 + Math.abs(random.normal()));
  const a = b.map((x) => x * Math.tanh(random.normal()));
  return floatValue([...a, ...b, ...b.map(() => random.below(64) / 16 - 2)]);
}

const emptyWkvState = (units: number): BufferValue =>
  floatValue(Array.from({ length: 3 * units }, (_, at) => (at < 2 * units ? 0 : -Infinity)));

/**
 * Keys at three levels that are multiples of 1/16, and rates that are odd multiples of 1/1024: so every sum of them is
 * exact in float32, and over fewer than 64 steps no maximum is a tie.
 */
function extremeKeys(random: CaseRandom, B: number, T: number, D: number) {
  const k = new Float64Array(B * T * D);
  for (let unit = 0; unit < B * D; unit++) {
    const first = random.below(1024);
    for (let t = 0; t < T; t++) {
      const level = [0, 0, 9984, -9984][random.below(4)]!;
      k[(Math.floor(unit / D) * T + t) * D + (unit % D)] = level + ((first + 1021 * t) % 1024) / 16 - 32;
    }
  }
  const w = Array.from({ length: D }, () => (2 * random.below(2048) + 1) / 1024);
  const u = Array.from({ length: D }, () => (random.below(64) - 32) / 16);
  return { k: floatValue(k), w: floatValue(w), u: floatValue(u) };
}

function wkv(B: number, T: number, D: number, options: WkvOptions = {}): Problem {
  const { state = false, stateOut = false, reset = false, empty = false, extreme = false, rate = 0.5 } = options;
  const name = `B=${B} T=${T} D=${D} ${flagsOf(options)}`;
  const random = new CaseRandom(`wkv ${name}`);
  const usual = {
    k: random.floats(B * T * D),
    w: floatValue(Array.from({ length: D }, () => rate * Math.exp(random.normal()))),
    u: random.floats(D),
  };
  const values: Record<string, Value> = {
    y: output(B * T * D),
    stateOut: stateOut ? output(3 * B * D) : null,
    saved: output(3 * B * Math.ceil(T / SCAN_STEPS) * D),
    ...(extreme ? extremeKeys(random, B, T, D) : usual),
    v: random.floats(B * T * D),
    stateIn: state ? wkvState(random, B * D) : empty ? emptyWkvState(B * D) : null,
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    D,
  };
  return { name, forward: 'wkvForward', backward: 'wkvBackward', values, smooth: !extreme };
}

function wkvProblems(): Problem[] {
  const all = { state: true, stateOut: true, reset: true };
  const frozen = wkv(2, 11, 9, { state: true });
  const decoding = wkv(3, 1, 70, { state: true, stateOut: true });
  return [
    wkv(2, 19, 33, all),
    wkv(2, 19, 33),
    wkv(2, 19, 33, { ...all, reset: false }),
    wkv(1, 70, 130, { reset: true, stateOut: true }),
    wkv(3, 64, 64, { stateOut: true }),
    wkv(5, 33, 3, { ...all, rate: 0.01 }),
    wkv(2, 21, 8, { empty: true, stateOut: true }),
    wkv(1, 1, 5, all),
    wkv(2, 1, 5),
    wkv(2, 0, 5, { state: true, stateOut: true }), // no steps: the state stays as it is
    wkv(2, 40, 9, { extreme: true, stateOut: true }),
    wkv(2, 40, 9, { extreme: true, ...all }),
    wkv(1, 300, 5, { stateOut: true, rate: 1e-4 }),
    wkv(1, 300, 5, { stateOut: true, rate: 30 }),
    // Parameters that are not trained.
    { ...frozen, name: `${frozen.name} frozen`, unwanted: ['dw', 'du', 'dstateIn'] },
    // As in decoding: nothing saved, no backward pass.
    {
      name: `${decoding.name} nothing saved`,
      forward: decoding.forward,
      values: { ...decoding.values, saved: null },
    },
  ];
}

function scan(B: number, T: number, D: number, options: ScanOptions = {}): Problem {
  const { state = false, stateOut = false, reset = false } = options;
  const name = `B=${B} T=${T} D=${D} ${flagsOf(options)}`;
  const random = new CaseRandom(`scan ${name}`);
  const values: Record<string, Value> = {
    h: output(B * T * D),
    stateOut: stateOut ? output(B * D) : null,
    a: floatValue(Array.from({ length: B * T * D }, () => 1 / (1 + Math.exp(-2 * random.normal())))),
    x: random.floats(B * T * D),
    stateIn: state ? random.floats(B * D) : null,
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    D,
  };
  return { name, forward: 'scanForward', backward: 'scanBackward', values };
}

function linearProblems(): Problem[] {
  const all = { state: true, stateOut: true, reset: true };
  return [
    scan(2, 19, 33, all),
    scan(2, 19, 33),
    scan(2, 19, 33, { ...all, reset: false }),
    scan(1, 70, 130, { reset: true, stateOut: true }),
    scan(3, 64, 64, { state: true }),
    scan(2, 1, 5, all),
    scan(2, 1, 5, { state: true }),
    scan(2, 0, 5, { state: true, stateOut: true }), // no steps: the state stays as it is
    scan(1, 500, 2, { stateOut: true }),
  ];
}

/** Every problem of the elementwise scans. */
export const scanProblems = (): Problem[] => [...selectiveProblems(), ...wkvProblems(), ...linearProblems()];
