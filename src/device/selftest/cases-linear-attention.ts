/**
 * @file Problems for gated linear attention: every kind of decay, with and without bonus and normaliser, groups of
 * queries and keys, documents in the middle of rows, decays that keep everything or nothing.
 */
import { Decay } from '../kernels.js';
import type { BufferValue, Problem, Value } from './problem.js';
import { CaseRandom, byteValue, floatValue, output } from './problem.js';

type DecayName = keyof typeof Decay;

interface Options {
  /** None: nothing decays. */
  decay?: DecayName | 'none';
  /** Before softplus: log decays are -softplus of it and a normal variate. */
  decayOffset?: number;
  /** Some decays are -infinity, -1e4 or 0. */
  extreme?: boolean;
  bonus?: boolean;
  normalize?: boolean;
  state?: boolean;
  stateOut?: boolean;
  reset?: boolean;
  bidirectional?: boolean;
  /** Groups of queries and keys; as many as heads by default. */
  groups?: number;
}

type ProblemSizes = readonly [B: number, T: number, NH: number, DK: number, DV: number, L: number];

/** Documents that begin at random steps, and one at the first step of the first row. */
const resets = (random: CaseRandom, B: number, T: number): BufferValue =>
  byteValue(Array.from({ length: B * T }, (_, at) => (at === 0 || random.uniform() < 0.15 ? 1 : 0)));

function logDecays(random: CaseRandom, [B, T, NH, DK]: ProblemSizes, options: Options): BufferValue | null {
  const { decay = 'none', decayOffset = 0, extreme = false } = options;
  if (decay === 'none') return null;
  const rows = decay === 'scalar' || decay === 'vector' ? B * T * NH : NH;
  const length = rows * (decay === 'vector' || decay === 'constantVector' ? DK : 1);
  const usual = (): number => -Math.log1p(Math.exp(decayOffset + random.normal()));
  const extremes = [-Infinity, -1e4, -200, -1e-6, 0];
  const value = (): number => (extreme && random.uniform() < 0.4 ? extremes[random.below(5)]! : usual());
  return floatValue(Array.from({ length }, value));
}

/** Numbers of one sign where they are divided by: sums that nearly vanish would magnify every rounding. */
const features = (random: CaseRandom, length: number, isPositive: boolean): BufferValue => {
  const x = random.floats(length);
  return isPositive ? floatValue(Array.from(x.data!, (value) => Math.abs(value) + 0.1)) : x;
};

function linearAttention(sizes: ProblemSizes, options: Options = {}): Problem {
  const [B, T, NH, DK, DV, L] = sizes;
  const { decay = 'none', bonus = false, normalize = false, state = false, stateOut = false } = options;
  const { reset = false, bidirectional = false, groups: NG = NH } = options;
  const flags = Object.entries(options)
    .filter(([, value]) => value !== false)
    .map(([name, value]) => (value === true ? name : `${name}=${String(value)}`));
  const name = `B=${B} T=${T} NH=${NH} DK=${DK} DV=${DV} L=${L} ${flags.join(' ')}`;
  const random = new CaseRandom(`linear attention ${name}`);
  const heads = B * NH;
  const values: Record<string, Value> = {
    o: output(B * T * NH * DV),
    Sout: stateOut ? output(heads * DK * DV) : null,
    zout: stateOut && normalize ? output(heads * DK) : null,
    denominator: normalize ? output(T * heads) : null,
    q: features(random, B * T * NG * DK, normalize),
    k: features(random, B * T * NG * DK, normalize),
    v: random.floats(B * T * NH * DV),
    logDecay: logDecays(random, sizes, options),
    u: bonus ? features(random, NH * DK, normalize) : null,
    Sin: state ? random.floats(heads * DK * DV) : null,
    zin: state && normalize ? features(random, heads * DK, true) : null,
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    NH,
    NG,
    DK,
    DV,
    L,
    scale: Math.fround(1 / Math.sqrt(DK)),
    eps: Math.fround(1e-6),
    decay: Decay[decay === 'none' ? 'scalar' : decay],
    normalize,
    causal: !bidirectional,
  };
  return { name, forward: 'linearAttentionForward', backward: 'linearAttentionBackward', values };
}

/** Every problem of gated linear attention. */
export function linearAttentionProblems(): Problem[] {
  const all = { state: true, stateOut: true, reset: true } as const;
  const decays = ['none', 'scalar', 'vector', 'constantScalar', 'constantVector'] as const;
  const frozen = linearAttention([2, 19, 2, 5, 7, 8], { decay: 'vector', bonus: true, state: true });
  const inPlace = linearAttention([2, 1, 3, 5, 7, 8], {
    decay: 'vector',
    normalize: true,
    state: true,
    stateOut: true,
  });
  return [
    ...decays.flatMap((decay) => [
      ...[{}, { bonus: true }, { normalize: true }, { bonus: true, normalize: true }].map((form) =>
        linearAttention([2, 39, 3, 5, 7, 32], { decay, ...form, ...all }),
      ),
      linearAttention([2, 39, 3, 5, 7, 32], { decay }),
      linearAttention([1, 37, 2, 16, 32, 16], { decay, state: true, stateOut: true }),
      linearAttention([1, 70, 3, 33, 65, 64], { decay, bonus: true, stateOut: true }),
      linearAttention([2, 35, 4, 9, 4, 32], { decay, ...all, groups: 2 }),
      // One step, as in decoding.
      linearAttention([2, 1, 3, 5, 7, 64], { decay, state: true, stateOut: true }),
      linearAttention([2, 1, 6, 16, 40, 64], { decay, bonus: true, normalize: true, ...all, groups: 3 }),
      linearAttention([3, 1, 2, 8, 8, 64], { decay }),
    ]),
    // The order of the decays and the gradients of many heads that read one group.
    linearAttention([1, 50, 12, 16, 8, 16], { decay: 'scalar', groups: 1, ...all }),
    linearAttention([3, 33, 24, 7, 5, 64], { decay: 'vector', groups: 1, bonus: true, stateOut: true }),
    ...(['scalar', 'vector'] as const).flatMap((decay) => [
      linearAttention([2, 50, 2, 7, 9, 32], { decay, extreme: true, ...all }),
      linearAttention([2, 50, 2, 7, 9, 32], { decay, extreme: true, bonus: true, ...all }),
      linearAttention([2, 50, 2, 7, 9, 32], { decay, extreme: true, normalize: true, ...all }),
      // Long memory: the decays of all steps add up to little; short memory: nothing is left of the step before.
      linearAttention([1, 200, 2, 8, 8, 64], { decay, stateOut: true, decayOffset: -8 }),
      linearAttention([1, 200, 2, 8, 8, 64], { decay, stateOut: true, decayOffset: 40 }),
      linearAttention([2, 130, 2, 64, 64, 64], { decay, stateOut: true }),
      linearAttention([2, 0, 2, 8, 8, 16], { decay, ...all }), // no steps: the state stays as it is
      linearAttention([1, 21, 2, 8, 8, 1], { decay, ...all }),
      // More states of blocks than are kept at once.
      linearAttention([1, 300, 1, 64, 64, 1], { decay, ...all }),
    ]),
    ...[{}, { normalize: true }].flatMap((form) => [
      linearAttention([2, 39, 3, 5, 7, 16], { ...form, bidirectional: true }),
      linearAttention([2, 70, 4, 17, 33, 64], { ...form, bidirectional: true, reset: true, groups: 2 }),
    ]),
    linearAttention([3, 1, 2, 8, 8, 64], { bidirectional: true }),
    { ...frozen, name: `${frozen.name} frozen`, unwanted: ['dlogDecay', 'du', 'dSin', 'dk'] },
    { ...frozen, name: `${frozen.name} values frozen`, unwanted: ['dq', 'dv'] },
    {
      name: `${inPlace.name} in place`,
      forward: inPlace.forward,
      values: inPlace.values,
      inPlace: { Sout: 'Sin', zout: 'zin' },
    },
  ];
}
