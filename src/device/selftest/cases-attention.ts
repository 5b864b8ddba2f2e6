/**
 * @file Problems for softmax attention and what goes with it: positions, rotary embedding, the attention itself with
 * caches, windows, grouped heads, biases and large logits, and the ring of keys.
 */
import type { BufferValue, Problem, Value } from './problem.js';
import { CaseRandom, byteValue, floatValue, intOutput, intValue, output } from './problem.js';

/** Documents that begin at random steps, none at the first. */
const resetFlags = (random: CaseRandom, B: number, T: number): number[] =>
  Array.from({ length: B * T }, (_, at) => (at % T !== 0 && random.uniform() < 0.12 ? 1 : 0));

/** Positions of B rows of T steps: row b goes on from `before[b]`. */
function positionsOf(before: readonly number[], reset: readonly number[] | null, T: number): BufferValue {
  const values = before.flatMap((first, b) => {
    let position = first;
    return Array.from({ length: T }, (_, t) => {
      if (reset?.[b * T + t]) position = 0;
      return position++;
    });
  });
  return intValue(values);
}

function positionProblem(B: number, T: number, options: { state?: boolean; reset?: boolean }): Problem {
  const { state = false, reset = false } = options;
  const name = `B=${B} T=${T}${state ? ' state' : ''}${reset ? ' reset' : ''}`;
  const random = new CaseRandom(`positions ${name}`);
  const values = {
    y: intOutput(B * T),
    positionOut: state ? output(B) : null,
    positionIn: state ? floatValue(Array.from({ length: B }, (_, b) => (b === 1 ? 1e6 : random.below(50)))) : null,
    reset: reset ? byteValue(resetFlags(random, B, T)) : null,
  };
  return { name, forward: 'positions', values: { ...values, B, T } };
}

function ropeProblem(N: number, NH: number, DH: number, theta: number, first: number): Problem {
  const name = `N=${N} NH=${NH} DH=${DH} theta=${theta} from ${first}`;
  const random = new CaseRandom(`rope ${name}`);
  const length = N * NH * DH;
  const positions = Array.from({ length: N }, (_, n) => (n < N / 3 ? first + n : n < N / 2 ? random.below(5000) : n));
  const values = { y: output(length), x: random.floats(length), positions: intValue(positions) };
  return { name, forward: 'ropeForward', backward: 'ropeBackward', values: { ...values, N, NH, DH, theta } };
}

interface AttentionOptions {
  /** Documents begin in the middle of rows. */
  reset?: boolean;
  /** Rings of keys and values come in, of sequences that are shorter and longer than W. */
  cache?: boolean;
  /** Sequences go on without a ring: what was before is not seen. */
  noCache?: boolean;
  bias?: boolean;
  /** One row of the bias for all queries. */
  oneRow?: boolean;
  /** Neither q nor k. */
  biasOnly?: boolean;
  full?: boolean;
  large?: boolean;
  unwanted?: readonly string[];
}

type AttentionSizes = readonly [B: number, T: number, NH: number, NKV: number, DK: number, DV: number, W: number];

/**
 * Queries and keys whose logits reach 1e4 and are exact in float32, with a scale of 1/4: queries of some thousands and keys
 * of one of three small vectors. Keys of one vector differ in the first element alone, where queries are small, so that
 * the largest logits lie within 2 of each other.
 */
function largeRows(random: CaseRandom, rows: number, DK: number, isKey: boolean): BufferValue {
  const base = Array.from({ length: 3 * DK }, () => random.below(5) - 2);
  const values = Array.from({ length: rows }, () => {
    const from = random.below(3) * DK;
    const first = isKey ? random.below(5) - 2 : (random.below(9) - 4) / 4;
    return Array.from({ length: DK }, (_, d) =>
      d === 0 ? first : isKey ? base[from + d]! : random.below(8193) - 4096,
    );
  });
  return floatValue(values.flat());
}

function attention(sizes: AttentionSizes, options: AttentionOptions = {}): Problem {
  const [B, T, NH, NKV, DK, DV, W] = sizes;
  const { reset = false, cache = false, noCache = false, biasOnly = false, full = false, large = false } = options;
  const bias = (options.bias ?? false) || biasOnly;
  const { oneRow = false } = options;
  const flags = Object.keys(options).filter((key) => options[key as keyof AttentionOptions]);
  const name = `B=${B} T=${T} NH=${NH} NKV=${NKV} DK=${DK} DV=${DV} W=${W} ${flags.join(' ')}`;
  const random = new CaseRandom(`attention ${name}`);
  const before = Array.from({ length: B }, (_, b) => (cache || noCache ? [2, W + 3, 3 * W, 0][b % 4]! : 0));
  const P = bias ? Math.max(...before) + T + 2 : 0;
  const Q = oneRow ? 1 : P;
  const rows = (count: number, isKey: boolean): BufferValue =>
    large ? largeRows(random, count, DK, isKey) : random.floats(count * DK);
  const values: Record<string, Value> = {
    y: output(B * T * NH * DV),
    lse: output(B * T * NH * 2),
    q: biasOnly ? null : rows(B * T * NH, false),
    k: biasOnly ? null : rows(B * T * NKV, true),
    v: random.floats(B * T * NKV * DV),
    bias: bias ? random.floats(NH * Q * P) : null,
    kCache: cache && !biasOnly ? rows(B * W * NKV, true) : null,
    vCache: cache ? random.floats(B * W * NKV * DV) : null,
    positions: positionsOf(before, reset ? resetFlags(random, B, T) : null, T),
    ...{ B, T, NH, NKV, DK, DV, W, Q, P },
    scale: large ? 0.25 : Math.fround(1 / Math.sqrt(Math.max(DK, 1))),
    causal: !full,
  };
  const { unwanted = [] } = options;
  // One step of large logits has one weight near 1, and gradients that are nothing but rounding.
  const backward = large && T === 1 ? {} : { backward: 'attentionBackward' as const };
  return { name, forward: 'attentionForward', ...backward, values, unwanted };
}

const attentionProblems = (): Problem[] => [
  attention([2, 37, 3, 3, 8, 5, 64], { reset: true }),
  attention([2, 19, 4, 2, 5, 7, 64]),
  attention([1, 290, 2, 1, 16, 16, 512]), // several tiles of queries and of keys
  attention([2, 205, 2, 2, 8, 33, 70], { reset: true }), // a window across tiles
  attention([1, 90, 1, 1, 4, 4, 1]), // each sees itself alone
  attention([4, 21, 4, 2, 8, 8, 17], { cache: true }),
  attention([3, 100, 2, 1, 12, 20, 80], { cache: true, reset: true }),
  attention([3, 40, 2, 1, 8, 8, 9], { cache: true }), // the ring is shorter than the call
  attention([4, 1, 6, 2, 40, 72, 33], { cache: true }), // decoding
  attention([4, 1, 2, 2, 3, 5, 300], { cache: true }),
  attention([2, 1, 2, 2, 8, 8, 16]),
  attention([2, 1, 2, 1, 8, 8, 16], { noCache: true, bias: true }),
  attention([2, 23, 2, 2, 8, 8, 16], { noCache: true }),
  attention([2, 23, 4, 2, 8, 9, 64], { bias: true, reset: true }),
  attention([2, 80, 2, 2, 8, 9, 30], { bias: true, cache: true }),
  attention([2, 70, 4, 2, 8, 9, 128], { bias: true, oneRow: true, reset: true }),
  attention([4, 1, 4, 2, 8, 9, 12], { bias: true, oneRow: true, cache: true }),
  attention([2, 75, 3, 3, 0, 9, 128], { biasOnly: true, reset: true }),
  attention([3, 1, 2, 2, 0, 9, 14], { biasOnly: true, cache: true }),
  attention([2, 75, 4, 2, 8, 9, 128], { full: true, reset: true }),
  attention([1, 140, 2, 2, 8, 8, 5], { full: true, bias: true }),
  attention([2, 1, 2, 2, 8, 8, 5], { full: true }),
  attention([2, 70, 2, 1, 8, 8, 64], { large: true, reset: true }),
  attention([2, 9, 2, 2, 8, 8, 16], { large: true, cache: true }),
  attention([2, 1, 2, 2, 8, 8, 16], { large: true, cache: true }),
  attention([2, 0, 2, 2, 8, 8, 16], { cache: true }),
  attention([2, 20, 2, 2, 8, 8, 16], { cache: true, unwanted: ['dq', 'dv', 'dkCache'] }),
  attention([2, 20, 2, 2, 8, 8, 16], { bias: true, unwanted: ['dk', 'dbias'] }),
];

function linformer(
  [B, T, NH, DK, DV, R]: readonly [B: number, T: number, NH: number, DK: number, DV: number, R: number],
  options: { reset?: boolean; unwanted?: readonly string[] } = {},
): Problem {
  const { reset = false, unwanted = [] } = options;
  const name = `B=${B} T=${T} NH=${NH} DK=${DK} DV=${DV} R=${R}${reset ? ' reset' : ''} ${unwanted.join(' ')}`;
  const random = new CaseRandom(`linformer ${name}`);
  const P = T + 3;
  const values: Record<string, Value> = {
    y: output(B * T * NH * DV),
    q: random.floats(B * T * NH * DK),
    k: random.floats(B * T * NH * DK),
    v: random.floats(B * T * NH * DV),
    E: random.floats(P * R, 1 / Math.sqrt(Math.max(T, 1))),
    positions: positionsOf(new Array<number>(B).fill(0), reset ? resetFlags(random, B, T) : null, T),
    ...{ B, T, NH, DK, DV, P, R },
    scale: Math.fround(1 / Math.sqrt(DK)),
  };
  return { name, forward: 'linformerForward', backward: 'linformerBackward', values, unwanted };
}

const linformerProblems = (): Problem[] => [
  linformer([2, 19, 3, 5, 7, 4], { reset: true }),
  linformer([2, 150, 2, 16, 8, 17]),
  // Of one step: all projected keys are multiples of one, and gradients what cancellation leaves. [4.6e-6 on the cpu device]
  { ...linformer([1, 1, 2, 4, 4, 3]), amplification: 4 },
  linformer([9, 20, 4, 8, 8, 33], { reset: true }), // more heads than groups of partial sums
  linformer([2, 0, 2, 4, 4, 3]),
  linformer([1, 70, 1, 8, 9, 1], { unwanted: ['dq', 'dE'] }),
  linformer([1, 70, 2, 8, 9, 5], { unwanted: ['dk', 'dv'] }),
];

function ring(B: number, T: number, W: number, R: number, options: { reset?: boolean; empty?: boolean } = {}): Problem {
  const { reset = false, empty = false } = options;
  const name = `B=${B} T=${T} W=${W} R=${R}${reset ? ' reset' : ''}${empty ? ' empty' : ''}`;
  const random = new CaseRandom(`ring ${name}`);
  const before = Array.from({ length: B }, (_, b) => (empty ? 0 : [3, W, 2 * W + 1, 0][b % 4]!));
  const values = {
    kOut: output(B * W * R),
    kIn: empty ? null : random.floats(B * W * R),
    k: random.floats(B * T * R),
    positions: positionsOf(before, reset ? resetFlags(random, B, T) : null, T),
  };
  return { name, forward: 'attentionCache', backward: 'attentionCacheBackward', values: { ...values, B, T, W, R } };
}

function ringProblems(): Problem[] {
  const step = ring(4, 1, 9, 6);
  return [
    ring(4, 5, 8, 3),
    ring(4, 30, 8, 3),
    ring(3, 13, 8, 10, { reset: true }),
    ring(2, 5, 12, 3, { empty: true }),
    ring(4, 1, 9, 6),
    ring(2, 0, 4, 5),
    ring(4, 0, 5, 3, { empty: true }),
    { name: `${step.name} in place`, forward: step.forward, values: step.values, inPlace: { kOut: 'kIn' } },
  ];
}

export const attentionFamilyProblems = (): Problem[] => [
  positionProblem(1, 1, {}),
  positionProblem(3, 11, { state: true }),
  positionProblem(3, 11, { state: true, reset: true }),
  positionProblem(2, 9, { reset: true }),
  positionProblem(2, 0, { state: true }),
  ropeProblem(9, 3, 10, 10_000, 0),
  ropeProblem(300, 2, 64, 10_000, 0),
  ropeProblem(7, 1, 2, 500_000, 100_000),
  ropeProblem(40, 2, 34, 100, 1_000_000),
  ...attentionProblems(),
  ...ringProblems(),
  ...linformerProblems(),
];
