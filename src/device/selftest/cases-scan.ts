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

/** Every problem of the elementwise scans. */
export const scanProblems = (): Problem[] => selectiveProblems();
