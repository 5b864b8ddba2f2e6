/**
 * @file Problems for the delta rule and for its generalisation in RWKV-7. Keys are vectors of length one, as the mixers
 * make them: longer ones would let the state grow from step to step, and its rounding errors with it.
 */
import type { BufferValue, Problem, Value } from './problem.js';
import { CaseRandom, byteValue, floatValue, output } from './problem.js';

type Sizes = readonly [B: number, T: number, NH: number, DK: number, DV: number, L: number];

interface DeltaOptions {
  /** How the decay is drawn: none, near 1 as in trained models, or 1 and e^-9984 in turn. */
  readonly decay?: 'none' | 'mild' | 'extreme';
  /** beta is drawn from 0 to this. Above 1 a key turns its memory around. */
  readonly largestBeta?: number;
  /** Keys that lie close to each other, whose triangular systems are the hardest. */
  readonly similarKeys?: boolean;
  readonly state?: boolean;
  readonly stateOut?: boolean;
  readonly reset?: boolean;
}

/** Documents that begin at random steps, and one at the first step of the first row. */
const resets = (random: CaseRandom, B: number, T: number): BufferValue =>
  byteValue(Array.from({ length: B * T }, (_, at) => (at === 0 || random.uniform() < 0.15 ? 1 : 0)));

/** `rows` vectors of length one; with `offset` they have a common part. */
function unitVectors(random: CaseRandom, rows: number, width: number, offset = 0): BufferValue {
  return floatValue(
    Array.from({ length: rows }, () => {
      const x = Array.from({ length: width }, () => offset + random.normal());
      const norm = Math.hypot(...x);
      return x.map((value) => value / norm);
    }).flat(),
  );
}

function logDecays(random: CaseRandom, rows: number, decay: 'none' | 'mild' | 'extreme'): BufferValue | null {
  if (decay === 'none') return null;
  const draw = decay === 'mild' ? () => -0.2 * random.normal() ** 2 : () => [0, 0, 0, -9984][random.below(4)]!;
  return floatValue(Array.from({ length: rows }, draw));
}

function nameOf(options: DeltaOptions): string {
  const { decay = 'mild', largestBeta = 1, similarKeys, state, stateOut, reset } = options;
  return [
    `decay=${decay}`,
    largestBeta !== 1 && `beta up to ${largestBeta}`,
    similarKeys && 'similar keys',
    state && 'state',
    stateOut && 'stateOut',
    reset && 'reset',
  ]
    .filter(Boolean)
    .join(' ');
}

function deltaRule([B, T, NH, DK, DV, L]: Sizes, options: DeltaOptions = {}): Problem {
  const { decay = 'mild', largestBeta = 1, similarKeys = false, state = false, stateOut = false } = options;
  const name = `B=${B} T=${T} NH=${NH} DK=${DK} DV=${DV} L=${L} ${nameOf(options)}`;
  const random = new CaseRandom(`delta ${name}`);
  const [rows, heads] = [B * T * NH, B * NH];
  const values: Record<string, Value> = {
    o: output(rows * DV),
    stateOut: stateOut ? output(heads * DK * DV) : null,
    q: random.floats(rows * DK),
    k: unitVectors(random, rows, DK, similarKeys ? 3 : 0),
    v: random.floats(rows * DV),
    beta: floatValue(Array.from({ length: rows }, () => largestBeta * random.uniform())),
    g: logDecays(random, rows, decay),
    stateIn: state ? random.floats(heads * DK * DV) : null,
    reset: options.reset ? resets(random, B, T) : null,
    B,
    T,
    NH,
    DK,
    DV,
    L,
    scale: Math.fround(1 / Math.sqrt(DK)),
  };
  // A finite difference of e^-9984 sees nothing, and its gradient is nothing.
  const smooth = decay !== 'extreme';
  return { name, forward: 'deltaRuleForward', backward: 'deltaRuleBackward', values, smooth };
}

/** The forward kernel alone, its last state in the memory of the first. */
const inPlace = ({ name, forward, values }: Problem): Problem => ({
  name: `${name} in place`,
  forward,
  values,
  inPlace: { stateOut: 'stateIn' },
});

interface DplrOptions {
  readonly decay?: 'mild' | 'extreme';
  readonly state?: boolean;
  readonly stateOut?: boolean;
  readonly reset?: boolean;
}

/** With b = -x and a = rate * x for a vector x of length one, as in RWKV-7. */
function dplr(
  [B, T, NH, DK, DV]: readonly [number, number, number, number, number],
  options: DplrOptions = {},
): Problem {
  const { decay = 'mild', state = false, stateOut = false, reset = false } = options;
  const flags = [`decay=${decay}`, state && 'state', stateOut && 'stateOut', reset && 'reset']
    .filter(Boolean)
    .join(' ');
  const name = `B=${B} T=${T} NH=${NH} DK=${DK} DV=${DV} ${flags}`;
  const random = new CaseRandom(`dplr ${name}`);
  const [rows, heads] = [B * T * NH, B * NH];
  const b = unitVectors(random, rows, DK);
  const values: Record<string, Value> = {
    o: output(rows * DV),
    stateOut: stateOut ? output(heads * DK * DV) : null,
    q: random.floats(rows * DK),
    k: random.floats(rows * DK),
    v: random.floats(rows * DV),
    a: floatValue((b.data as Float64Array).map((x) => -random.uniform() * x)),
    b,
    g: logDecays(random, rows * DK, decay),
    stateIn: state ? random.floats(heads * DK * DV) : null,
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    NH,
    DK,
    DV,
  };
  return { name, forward: 'dplrForward', backward: 'dplrBackward', values, smooth: decay !== 'extreme' };
}

function dplrProblems(): Problem[] {
  const all = { state: true, stateOut: true, reset: true } as const;
  const carried = { state: true, stateOut: true } as const;
  return [
    dplr([2, 19, 3, 5, 7], carried),
    dplr([2, 19, 3, 5, 7], all),
    dplr([2, 19, 3, 5, 7]),
    dplr([2, 19, 3, 5, 7], { ...all, decay: 'extreme' }),
    { ...dplr([2, 19, 3, 5, 7]), name: 'only the values have a gradient', unwanted: ['dq', 'dk', 'da', 'db', 'dg'] },
    { ...dplr([2, 19, 3, 5, 7], all), name: 'the values have no gradient', unwanted: ['dv', 'dstateIn'] },
    // Decoding: one step, also with a reset, without a state, and with none that is wanted.
    dplr([3, 1, 2, 33, 17], carried),
    inPlace(dplr([3, 1, 2, 33, 17], carried)),
    dplr([2, 1, 3, 8, 40], all),
    dplr([2, 1, 3, 8, 8]),
    inPlace(dplr([2, 19, 2, 8, 8], carried)),
    dplr([2, 0, 2, 8, 8], all), // no steps: the state stays as it is
    dplr([2, 0, 2, 8, 8], { stateOut: true }),
    dplr([1, 1, 1, 1, 1], carried),
    // The sizes of a small model, and heads wider than a register tile in one direction only.
    dplr([1, 70, 2, 64, 64], { ...all, reset: false }),
    dplr([1, 50, 1, 33, 65], all),
    dplr([1, 50, 2, 65, 9], all),
    dplr([1, 2000, 1, 6, 4], { ...all, reset: false }),
  ];
}

/** Every problem of the delta rule and of its generalisation. */
export const deltaProblems = (): Problem[] => [...deltaRuleProblems(), ...dplrProblems()];

function deltaRuleProblems(): Problem[] {
  const all = { state: true, stateOut: true, reset: true } as const;
  const sizes: Sizes = [2, 19, 3, 5, 7, 8];
  const oneStep = deltaRule([3, 1, 2, 33, 17, 64], { state: true, stateOut: true });
  return [
    deltaRule(sizes, { ...all, reset: false }),
    deltaRule(sizes, all),
    deltaRule(sizes, { ...all, decay: 'none' }),
    deltaRule(sizes, { ...all, decay: 'extreme' }),
    deltaRule(sizes, { ...all, largestBeta: 2 }),
    deltaRule(sizes),
    deltaRule(sizes, { decay: 'none' }),
    {
      ...deltaRule(sizes, { decay: 'none' }),
      name: 'only the values have a gradient',
      unwanted: ['dq', 'dk', 'dbeta'],
    },
    { ...deltaRule(sizes, all), name: 'the values have no gradient', unwanted: ['dv', 'dg', 'dstateIn'] },
    deltaRule(sizes, { state: true }),
    // One chunk that is longer than the sequence, chunks of one, chunks that fill it exactly.
    deltaRule([1, 19, 2, 8, 8, 64], all),
    deltaRule([1, 19, 2, 8, 8, 1], all),
    deltaRule([2, 64, 2, 16, 16, 16], { state: true, stateOut: true }),
    // Decoding: one step, also with a reset, without a state, and with none that is wanted.
    oneStep,
    inPlace(oneStep),
    deltaRule([2, 1, 3, 8, 40, 64], all),
    deltaRule([2, 1, 3, 8, 8, 64], { stateOut: true, decay: 'none' }),
    deltaRule([2, 1, 3, 8, 8, 64]),
    deltaRule([1, 1, 1, 1, 1, 64], { state: true, stateOut: true }),
    inPlace(deltaRule([2, 19, 2, 8, 8, 8], { ...all, reset: false })),
    deltaRule([2, 0, 2, 8, 8, 16], all), // no steps: the state stays as it is
    deltaRule([2, 0, 2, 8, 8, 16], { stateOut: true }),
    // The sizes of a small model, and heads wider than a register tile in one direction only.
    deltaRule([2, 130, 2, 64, 64, 64], { stateOut: true }),
    deltaRule([1, 96, 1, 33, 65, 32], all),
    deltaRule([1, 70, 2, 65, 9, 64], { ...all, largestBeta: 2 }),
    deltaRule([1, 150, 1, 16, 16, 64], { ...all, similarKeys: true, decay: 'none' }),
    deltaRule([1, 200, 2, 8, 8, 200], { stateOut: true, state: true }),
    deltaRule([2, 70, 2, 8, 8, 32], { decay: 'extreme', state: true, stateOut: true }),
    deltaRule([1, 3000, 1, 6, 4, 64], { ...all, reset: false }),
  ];
}
