/** @file Every op's gradient on every device by two random vectors, at odd sizes, in memory poisoned by NaN. */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { attention, attentionCache } from '../../src/ops/attention.js';
import { checkpoint } from '../../src/ops/checkpoint.js';
import { conv1d } from '../../src/ops/conv1d.js';
import { deltaRule } from '../../src/ops/delta-rule.js';
import { dplr } from '../../src/ops/dplr.js';
import { dropout } from '../../src/ops/dropout.js';
import { activate, add, gatedActivation, mul, scaled, skipGate, subtract } from '../../src/ops/elementwise.js';
import { embedding } from '../../src/ops/embedding.js';
import { linearAttention, type LinearAttentionOptions } from '../../src/ops/linear-attention.js';
import { linearCrossEntropy } from '../../src/ops/linear-cross-entropy.js';
import { l2norm } from '../../src/ops/l2norm.js';
import { headwiseLinear, linear, linearConcat } from '../../src/ops/linear.js';
import { linformer } from '../../src/ops/linformer.js';
import { mlstm } from '../../src/ops/mlstm.js';
import { layernorm, rmsnorm } from '../../src/ops/norms.js';
import { positions, rope } from '../../src/ops/positions.js';
import { lstm, slstm } from '../../src/ops/recurrent.js';
import { scan } from '../../src/ops/scan.js';
import { selectiveScan } from '../../src/ops/selective-scan.js';
import { softCap } from '../../src/ops/soft-cap.js';
import { sum } from '../../src/ops/sum.js';
import { wkv } from '../../src/ops/wkv.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { referenceDevice, testDevices } from '../support/devices.js';
import { gradcheck, type GradInput } from '../support/gradcheck.js';

interface Case {
  readonly name: string;
  readonly inputs: readonly GradInput[];
  readonly f: (...xs: Tensor[]) => readonly Tensor[];
}

const of = (...shapes: (readonly number[])[]): GradInput[] => shapes.map((shape) => ({ shape }));
const ints = (device: Device, values: number[], shape: number[]) => Tensor.from(device, Int32Array.from(values), shape);
/** Resets in the middle of two rows of seven steps. */
const resets = (device: Device) =>
  Tensor.from(device, Uint8Array.from([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]), [2, 7]);
const gates = (xs: readonly Tensor[]) => ({ i: xs[0]!, f: xs[1]!, z: xs[2]!, o: xs[3]! });
const B = 2;
const T = 7;
const NH = 3;

const recurrentCases = (['slstm', 'lstm'] as const).flatMap((name): Case[] => {
  const cell = { slstm, lstm }[name];
  const states = { slstm: 4, lstm: 2 }[name];
  const D = 15;
  const gate = [B, T, D] as const;
  const inputs = of(gate, gate, gate, gate, [NH, 4 * 5, 5], [4 * D]);
  // n must be positive, as every state that the cell itself made is.
  const state = normal(randomKey(5), states * B * D).map((x, k) =>
    name === 'slstm' && Math.floor(k / (B * D)) === 1 ? 1 + x * x : x,
  );
  return [
    { name, inputs, f: (...xs) => cell(gates(xs), xs[4]!, xs[5]!) },
    {
      name: `${name}, resets`,
      inputs,
      f: (...xs) => cell(gates(xs), xs[4]!, xs[5]!, { reset: resets(xs[0]!.device) }),
    },
    {
      name: `${name}, state`,
      inputs: [...inputs, { shape: [states, B, D], values: state }],
      f: (...xs) => cell(gates(xs), xs[4]!, xs[5]!, { state: xs[6]! }),
    },
  ];
});

const [DK, DV] = [5, 4];
const mlstmInputs = of([B, T, NH * DK], [B, T, NH * DK], [B, T, NH * DV], [B, T, NH], [B, T, NH]);
const mlstmCases: Case[] = (['exponential', 'sigmoid'] as const).flatMap((inputGate) =>
  [true, false].flatMap((normalize): Case[] => {
    const options = { inputGate, normalize, chunkSize: 3 };
    const inputsOf = (xs: readonly Tensor[]) => ({ q: xs[0]!, k: xs[1]!, v: xs[2]!, i: xs[3]!, f: xs[4]! });
    const outputs = ([h, { C, n, m }]: ReturnType<typeof mlstm>) =>
      inputGate === 'sigmoid' ? [h, C, n] : [h, C, n, m];
    const name = `mlstm ${inputGate}${normalize ? '' : ' not normalised'}`;
    return [
      { name, inputs: mlstmInputs, f: (...xs) => outputs(mlstm(inputsOf(xs), options)) },
      {
        name: `${name}, resets`,
        inputs: mlstmInputs,
        f: (...xs) => outputs(mlstm(inputsOf(xs), { ...options, reset: resets(xs[0]!.device) })),
      },
      {
        name: `${name}, state`,
        inputs: [...mlstmInputs, ...of([B, NH, DK, DV], [B, NH, DK], ...(inputGate === 'sigmoid' ? [] : [[B, NH]]))],
        f: (...xs) => {
          const m = xs[7] ?? Tensor.full(xs[0]!.device, [B, NH], 0);
          return outputs(mlstm(inputsOf(xs), { ...options, state: { C: xs[5]!, n: xs[6]!, m } }));
        },
      },
    ];
  }),
);

const N = 3;
const scanned = of([B, T, 9], [B, T, 9], [9, N], [B, T, N], [B, T, N]);
const scanInputs = (xs: readonly Tensor[]) => ({ u: xs[0]!, delta: xs[1]!, A: xs[2]!, B: xs[3]!, C: xs[4]! });
const wkvInputs = (xs: readonly Tensor[]) => ({ k: xs[0]!, v: xs[1]!, w: xs[2]!, u: xs[3]! });
const wkvInputsOf = [
  ...of([B, T, 9], [B, T, 9]),
  { shape: [9], values: normal(randomKey(6), 9).map((x) => Math.exp(x)) },
  { shape: [9] },
];
// A positive denominator, and a maximum that no key of the first step can tie with.
const wkvState = normal(randomKey(7), 3 * B * 9).map((x, k) => (Math.floor(k / (B * 9)) === 1 ? 1 + x * x : x));
const scanCases: Case[] = [
  { name: 'scan', inputs: of([B, T, 9], [B, T, 9], [B, 9]), f: (a, x, s) => scan(a, x, { state: s }) },
  {
    name: 'scan, resets',
    inputs: of([B, T, 9], [B, T, 9]),
    f: (a, x) => scan(a, x, { reset: resets(a.device) }),
  },
  {
    name: 'wkv',
    inputs: [...wkvInputsOf, { shape: [3, B, 9], values: wkvState }],
    f: (...xs) => wkv(wkvInputs(xs), { state: xs[4]! }),
  },
  {
    name: 'wkv, resets',
    inputs: wkvInputsOf,
    f: (...xs) => wkv(wkvInputs(xs), { reset: resets(xs[0]!.device) }),
  },
  {
    name: 'selectiveScan',
    inputs: [...scanned, ...of([9], [B, 9, N])],
    f: (...xs) => selectiveScan({ ...scanInputs(xs), skip: xs[5]! }, { state: xs[6]! }),
  },
  {
    name: 'selectiveScan, resets',
    inputs: scanned,
    f: (...xs) => selectiveScan(scanInputs(xs), { reset: resets(xs[0]!.device) }),
  },
];

/** Positions of [B,T] with documents that begin within the rows, or that go on from before. */
const placed = ({ device }: Tensor, before: number[] | null = null): Tensor =>
  positions(device, B, T, before === null ? { reset: resets(device) } : { state: Tensor.from(device, before, [B]) })[0];
const attentionCases: Case[] = [
  { name: 'rope', inputs: of([B, T, 12]), f: (x) => [rope(x, placed(x), 3, 100)] },
  {
    name: 'attention, grouped heads, bias, resets',
    inputs: of([B, T, 4 * DK], [B, T, 2 * DK], [B, T, 2 * DV], [4, T, T]),
    f: (q, k, v, bias) => [attention({ q: q, k: k, v: v, bias: bias }, placed(v), { heads: 4, keyHeads: 2 })],
  },
  {
    name: 'attention, cache',
    inputs: of([B, T, 2 * DK], [B, T, 2 * DK], [B, T, 2 * DV], [B, 5, 2 * DK], [B, 5, 2 * DV]),
    f: (q, k, v, keys, values) => {
      const at = placed(v, [2, 11]);
      const cache = (x: Tensor, before: Tensor) => attentionCache(x, at, { cache: before, window: 5 });
      const y = attention({ q: q, k: k, v: v }, at, { heads: 2, cache: { k: keys, v: values } });
      return [y, cache(k, keys), cache(v, values)];
    },
  },
  {
    name: 'attention, one bias for all queries',
    inputs: of([B, T, 2 * DK], [B, T, 2 * DK], [B, T, 2 * DV], [2, 1, T]),
    f: (q, k, v, bias) => [attention({ q, k, v, bias }, placed(v), { heads: 2 })],
  },
  {
    name: 'linformer',
    inputs: of([B, T, 2 * DK], [B, T, 2 * DK], [B, T, 2 * DV], [T, 3]),
    f: (q, k, v, E) => [linformer({ q, k, v }, E, placed(v), 2)],
  },
  {
    name: 'attention of the bias alone, not causal',
    inputs: of([B, T, 2 * DV], [2, T, T]),
    f: (v, bias) => [attention({ q: null, k: null, v: v, bias: bias }, placed(v), { heads: 2, causal: false })],
  },
  {
    name: 'attention, a cache too short for the call',
    inputs: of([B, T, 6]),
    f: (x) => [attentionCache(x, placed(x, [0, 1]), { window: 3 })],
  },
];

/** Keys of length one, or the state of the delta rule grows. */
const unitKeys = normal(randomKey(9), B * T * NH * DK).map((x, at, all) => {
  const first = at - (at % DK);
  return x / Math.hypot(...all.subarray(first, first + DK));
});
const deltaInputs: GradInput[] = [
  { shape: [B, T, NH * DK] },
  { shape: [B, T, NH * DK], values: unitKeys },
  { shape: [B, T, NH * DV] },
  { shape: [B, T, NH], values: normal(randomKey(10), B * T * NH).map((x) => 1 / (1 + Math.exp(-x))) },
];
const logDecay: GradInput = { shape: [B, T, NH], values: normal(randomKey(11), B * T * NH).map((x) => -0.1 * x * x) };
const deltaOf = ([q, k, v, beta]: readonly Tensor[], g: Tensor | null) => ({ q: q!, k: k!, v: v!, beta: beta!, g });
const deltaCases: Case[] = [
  {
    name: 'deltaRule',
    inputs: deltaInputs,
    f: (...xs) => deltaRule(deltaOf(xs, null), { chunkSize: 3 }),
  },
  {
    name: 'deltaRule, decay and state',
    inputs: [...deltaInputs, logDecay, { shape: [B, NH, DK, DV] }],
    f: (...xs) => deltaRule(deltaOf(xs, xs[4]!), { chunkSize: 3, state: xs[5]! }),
  },
  {
    name: 'deltaRule, decay and resets',
    inputs: [...deltaInputs, logDecay],
    f: (...xs) => deltaRule(deltaOf(xs, xs[4]!), { reset: resets(xs[0]!.device) }),
  },
];

const linearAttentionInputs = (decay: readonly number[] | null, groups = NH) => ({
  inputs: of([B, T, groups * DK], [B, T, groups * DK], [B, T, NH * DV], ...(decay ? [decay] : [])),
  f:
    (options: Partial<LinearAttentionOptions>, bonusAt?: number, stateAt?: number) =>
    (...xs: Tensor[]) => {
      const [q, k, v] = xs as [Tensor, Tensor, Tensor];
      const logDecay = decay ? activate(xs[3]!, 'logsigmoid') : null;
      const bonus = bonusAt === undefined ? null : xs[bonusAt]!;
      const [S, z] = stateAt === undefined ? [] : [xs[stateAt]!, xs[stateAt + 1]];
      const state = S ? { S, ...(z ? { z: activate(z, 'exp') } : {}) } : null;
      const positive = (x: Tensor) => (options.normalize ? activate(x, 'exp') : x);
      const inputs = { q: positive(q), k: positive(k), v, logDecay, bonus };
      const [o, last] = linearAttention(inputs, { heads: NH, groups, scale: 0.5, state, ...options });
      return [o, ...(last ? [last.S, ...(last.z ? [last.z] : [])] : [])];
    },
});
const scalarDecay = linearAttentionInputs([B, T, NH]);
const vectorDecay = linearAttentionInputs([B, T, NH * DK]);
const constantDecay = linearAttentionInputs([NH, DK], 1);
const noDecay = linearAttentionInputs(null);
const linearStates = of([B, NH, DK, DV], [B, NH, DK]);
const linearAttentionCases: Case[] = [
  { name: 'linearAttention', inputs: noDecay.inputs, f: noDecay.f({}) },
  { name: 'linearAttention, not causal', inputs: noDecay.inputs, f: noDecay.f({ causal: false, normalize: true }) },
  {
    name: 'linearAttention, scalar decay, normalised, state',
    inputs: [...scalarDecay.inputs, ...linearStates],
    f: scalarDecay.f({ normalize: true }, undefined, 4),
  },
  {
    name: 'linearAttention, vector decay, bonus, state',
    inputs: [...vectorDecay.inputs, ...of([NH, DK], [B, NH, DK, DV])],
    f: vectorDecay.f({}, 4, 5),
  },
  {
    name: 'linearAttention, constant decay, one group, resets',
    inputs: constantDecay.inputs,
    f: (...xs) => constantDecay.f({ reset: resets(xs[0]!.device) })(...xs),
  },
];

const wide: GradInput = { shape: [B, T, NH * DK] };
const dplrInputs: GradInput[] = [
  wide,
  wide,
  { shape: [B, T, NH * DV] },
  { ...wide, values: unitKeys.map((x) => -0.7 * x) },
  { ...wide, values: unitKeys },
  { ...wide, values: normal(randomKey(12), B * T * NH * DK).map((x) => -0.1 * x * x) },
];
const dplrOf = (xs: readonly Tensor[]) => ({ q: xs[0]!, k: xs[1]!, v: xs[2]!, a: xs[3]!, b: xs[4]!, g: xs[5]! });
const dplrCases: Case[] = [
  {
    name: 'dplr, state',
    inputs: [...dplrInputs, { shape: [B, NH, DK, DV] }],
    f: (...xs) => dplr(dplrOf(xs), { heads: NH, state: xs[6]! }),
  },
  {
    name: 'dplr, resets',
    inputs: dplrInputs,
    f: (...xs) => dplr(dplrOf(xs), { heads: NH, reset: resets(xs[0]!.device) }),
  },
  { name: 'l2norm', inputs: of([5, 21]), f: (x) => [l2norm(x, { groups: 3 })] },
];

const cases: Case[] = [
  { name: 'add', inputs: of([3, 5], [3, 5]), f: (a, b) => [add(a, b)] },
  { name: 'add of a tensor to itself', inputs: of([3, 5]), f: (a) => [add(a, a)] },
  { name: 'subtract', inputs: of([3, 5], [3, 5]), f: (a, b) => [subtract(a, b)] },
  { name: 'subtract, both of one tensor', inputs: of([3, 5]), f: (a) => [subtract(a, activate(a, 'tanh'))] },
  { name: 'scaled', inputs: of([3, 5]), f: (a) => [scaled(a, -0.7, 2)] },
  { name: 'mul', inputs: of([3, 5], [3, 5]), f: (a, b) => [mul(a, b)] },
  ...(['silu', 'gelu', 'sigmoid', 'tanh', 'exp', 'softplus', 'logsigmoid', 'eluplus1', 'relu2', 'sine'] as const).map(
    (name): Case => ({
      name,
      inputs: of([37]),
      f: (x) => [activate(x, name)],
    }),
  ),
  { name: 'gatedActivation', inputs: of([3, 7], [3, 7]), f: (a, b) => [gatedActivation(a, b, 'gelu')] },
  {
    name: 'skipGate',
    inputs: of([2, 3, 19], [2, 3, 19], [19], [2, 3, 19]),
    f: (h, c, s, z) => [skipGate(h, c, s, z)],
  },
  { name: 'dropout', inputs: of([101]), f: (x) => [dropout(x, 0.3, randomKey(1))] },
  { name: 'sum', inputs: of([3, 11]), f: (x) => [sum(x, 0.7)] },
  { name: 'linear', inputs: of([2, 3, 17], [9, 17], [9]), f: (x, w, b) => [linear(x, w, b)] },
  {
    name: 'linear of weight rows',
    inputs: of([5, 17], [10, 17]),
    f: (x, w) => [linear(x, w.rows(0, 5)), linear(x, w.rows(5, 10))],
  },
  {
    name: 'linearConcat',
    inputs: of([5, 3], [5, 7], [4, 10], [4]),
    f: (a, b, w, c) => [linearConcat([a, b], w, c)],
  },
  { name: 'headwiseLinear', inputs: of([5, 12], [3, 5, 4], [15]), f: (x, w, b) => [headwiseLinear(x, w, b)] },
  {
    name: 'layernorm',
    inputs: of([5, 21], [21], [21]),
    f: (x, w, b) => [layernorm(x, w, b, { groups: 3, weightOffset: 1 })],
  },
  {
    name: 'layernorm twice, shared weight',
    inputs: of([5, 21], [21]),
    f: (x, w) => [layernorm(layernorm(x, w), w)],
  },
  { name: 'rmsnorm', inputs: of([5, 21], [21]), f: (x, w) => [rmsnorm(x, w, { groups: 3 })] },
  {
    name: 'conv1d',
    inputs: of([B, T, 9], [9, 4], [9], [B, 3, 9]),
    f: (x, w, b, s) => conv1d(x, w, b, { activation: 'silu', state: s }),
  },
  {
    name: 'conv1d, resets',
    inputs: of([B, T, 9], [9, 4], [9]),
    f: (x, w, b) => conv1d(x, w, b, { reset: resets(x.device) }),
  },
  { name: 'embedding', inputs: of([6, 5]), f: (t) => [embedding(ints(t.device, [0, 5, 5, 2], [2, 2]), t)] },
  {
    name: 'linearCrossEntropy',
    inputs: of([4, 9], [11, 9]),
    f: (x, w) => [linearCrossEntropy(x, w, ints(x.device, [3, -1, 10, 0], [4]))],
  },
  {
    name: 'linearCrossEntropy, capped',
    inputs: of([4, 9], [11, 9]),
    f: (x, w) => [linearCrossEntropy(x, w, ints(x.device, [3, -1, 10, 0], [4]), 1.5)],
  },
  { name: 'softCap', inputs: of([3, 11]), f: (x) => [softCap(x, 1.5)] },
  {
    name: 'checkpoint',
    inputs: of([4, 9], [9, 9], [9]),
    f: (x, w, b) => checkpoint(([a]) => [activate(linear(a!, w, b), 'silu')], [x], [w, b]),
  },
  ...recurrentCases,
  ...mlstmCases,
  ...linearAttentionCases,
  ...scanCases,
  ...deltaCases,
  ...dplrCases,
  ...attentionCases,
];

/** Seen at most: 3e-9 in float64 (the differences' own error), 6e-6 in float32. */
const TOLERANCE = { float64: 1e-7, float32: 3e-5 };

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const tolerance = TOLERANCE[device.precision];

  it.each(cases)('$name', async ({ f, inputs }) => {
    for (let which = 0; which < inputs.length; which++) {
      expect(await gradcheck(device, f, inputs, which), `input ${which}`).toBeLessThan(tolerance);
    }
  });

  it('nothing is left over', () => expect(device.memory.bytes).toBe(0));
});

describe('the check itself', () => {
  const create = referenceDevice;
  const ln = cases.find(({ name }) => name === 'layernorm')!;

  it.each([
    ['a doubled gradient', (g: Float64Array) => g.map((x) => 2 * x)],
    ['a zero gradient', (g: Float64Array) => g.map((_, k) => (k === 0 ? 1e-12 : 0))],
    ['one wrong element', (g: Float64Array) => g.map((x, k) => (k === 3 ? x + 1 : x))],
  ] as const)('fails for %s', async (_, wrong) => {
    expect(await gradcheck(create(), ln.f, ln.inputs, 0, wrong)).toBeGreaterThan(10 * TOLERANCE.float32);
  });
});
