/**
 * @file What a model wrote and read: the reads of a trace add up to the real outputs of the cells, its memories are those of
 * the step form, and a text that is cut anywhere gives the same.
 */
import { describe, expect, it } from 'vitest';
import { LanguageModel } from '../../src/model/language-model.js';
import { SequenceModel } from '../../src/model/sequence-model.js';
import type { ModelState } from '../../src/model/state.js';
import { halfLife } from '../../src/model/trace/gates.js';
import { MlstmHeadTrace } from '../../src/model/trace/mlstm-head.js';
import { SlstmHeadTrace } from '../../src/model/trace/slstm-head.js';
import { traceModel, type ModelTrace } from '../../src/model/trace/trace.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

const V = 29;
const T = 21;
const blocks = {
  ...{ vocabSize: V, dim: 24, blocks: ['mlstm', 'slstm', 'attention', 'mlstmLarge'] },
  mlstm: { heads: 2, chunkSize: 5 },
  mlstmLarge: { heads: 3, chunkSize: 4 },
  slstm: { heads: 2, recurrentInit: 'standard' as const, biasInit: 'small' as const },
};
const tokens = Int32Array.from(uniform(randomKey(2), T, 0, V), Math.floor);

/** Models of three kinds of cells: as they are by default; a sigmoid input gate; no normaliser. */
const variants = [
  { name: 'as by default', config: blocks },
  { name: 'sigmoid input gate', config: { ...blocks, mlstm: { heads: 2, inputGate: 'sigmoid' as const } } },
  { name: 'no normaliser', config: { ...blocks, mlstm: { heads: 2, normalize: false } } },
];

/** Seen for what reads add up to: 1e-15 and 2e-7. States of the step form round differently. */
const TOLERANCE = { float64: 1e-13, float32: 3e-6 };

/** Moves every parameter, so that gates depend on the text and no gate is shut. */
function disturb({ device, parameters }: LanguageModel): void {
  Object.values(parameters.tensors).forEach((tensor, index) => {
    const noise = Tensor.from(device, uniform(randomKey(100 + index), tensor.size, -0.3, 0.3), tensor.shape);
    device.kernels.accumulate(tensor.buffer, noise.buffer, 1, tensor.size);
    noise.dispose();
  });
}

/** What the reads of a head add up to at step t, its first state included. */
function readAt(head: MlstmHeadTrace | SlstmHeadTrace, t: number): Float64Array {
  const sum = head.readBefore(t);
  for (let s = 0; s <= t; s++) {
    const part =
      head instanceof SlstmHeadTrace ? head.contribution(s, t) : head.value(s).map((v) => v * head.reads(t)[s]!);
    part.forEach((x, e) => (sum[e]! += x));
  }
  return sum;
}

const row = (values: Float64Array, t: number, width: number) => values.subarray(t * width, (t + 1) * width);

/** All heads of a trace with the place of each. */
const headsOf = ({ blocks: all }: ModelTrace) =>
  all.flatMap(({ heads }, block) => [...heads].map((head, index) => ({ head, block, index, NH: heads.length })));

/** State of one head in a tensor that has the heads side by side, as [rows,width]. */
async function headState(tensor: Tensor, rows: number, NH: number, index: number): Promise<Float64Array> {
  const values = await tensor.data();
  const width = values.length / (rows * NH);
  return Float64Array.from({ length: rows * width }, (_, at) => {
    const [r, w] = [Math.floor(at / width), at % width];
    return values[(r * NH + index) * width + w]!;
  });
}

/** The states after each token, by the step form. */
function steppedStates(model: LanguageModel): ModelState[] {
  const states: ModelState[] = [];
  let state = model.initialState(1);
  for (const token of tokens) {
    const { device } = model;
    const { state: next } = scope(device, {}, () => model.step(Tensor.from(device, Int32Array.of(token), [1]), state));
    if (states.length === 0) state.dispose();
    states.push((state = next));
  }
  return states;
}

function stateAfter(model: LanguageModel, count: number): ModelState {
  const { device } = model;
  return scope(device, {}, () => model.forward(Tensor.from(device, tokens.slice(0, count), [1, count])).state);
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const tolerance = TOLERANCE[device.precision];

  describe.each(variants)('$name', ({ config: options }) => {
    const make = () => {
      const model = LanguageModel.create(options, device, 1);
      disturb(model);
      return model;
    };

    it('reads add up to what the cell gave, from the start and after a cut anywhere', async () => {
      using model = make();
      for (const cut of [0, 1, 8, T - 1]) {
        using state = cut === 0 ? model.initialState(1) : stateAfter(model, cut);
        const trace = await traceModel(model, tokens.slice(cut), cut === 0 ? {} : { state });
        expect(headsOf(trace).length).toBe(7);
        for (const { head } of headsOf(trace)) {
          expect(head.steps).toBe(T - cut);
          const width = head.h.length / head.steps;
          const sums = Array.from({ length: head.steps }, (_, t) => [...readAt(head, t)]).flat();
          expect(sums.length).toBe(head.steps * width);
          expect(relativeRms(sums, head.h)).toBeLessThan(tolerance);
        }
      }
    });

    it('memories are those of the step form', async () => {
      using model = make();
      const trace = await traceModel(model, tokens);
      const states = steppedStates(model);
      for (const { head, block, index, NH } of headsOf(trace)) {
        for (const t of [0, 4, 11, T - 1]) {
          const state = states[t]!.blocks[block]!;
          if (head instanceof SlstmHeadTrace) {
            const [c, n, m, h] = [0, 1, 2, 3].map((k) =>
              headState(state['cell']!.reshape([4, head.DH * NH]).rows(k, k + 1), 1, NH, index),
            );
            expect(relativeRms(row(head.c, t, head.DH), await c!)).toBeLessThan(tolerance);
            expect(relativeRms(row(head.n, t, head.DH), await n!)).toBeLessThan(tolerance);
            expect(relativeRms(row(head.gates.m, t, head.DH), await m!)).toBeLessThan(tolerance);
            expect(relativeRms(row(head.h, t, head.DH), await h!)).toBeLessThan(tolerance);
          } else {
            const [C, n, m] = await Promise.all(['C', 'n', 'm'].map((name) => headState(state[name]!, 1, NH, index)));
            expect(relativeRms(head.C(t), C!)).toBeLessThan(tolerance);
            expect(relativeRms(row(head.n, t, head.DK), n!)).toBeLessThan(tolerance);
            expect(relativeRms([head.gates.m[t]!], m!)).toBeLessThan(tolerance);
            expect(head.memoryNorms[t]! / Math.hypot(...C!) - 1).toBeCloseTo(0, 4);
            expect(head.normaliserNorms[t]! / Math.hypot(...n!) - 1).toBeCloseTo(0, 4);
          }
        }
      }
      for (const state of states) state.dispose();
    });
  });

  it('after a cut gates and memories are those of the whole text', async () => {
    using model = LanguageModel.create(blocks, device, 1);
    disturb(model);
    const whole = headsOf(await traceModel(model, tokens));
    for (const cut of [1, 13]) {
      using state = stateAfter(model, cut);
      const rest = headsOf(await traceModel(model, tokens.slice(cut), { state }));
      rest.forEach(({ head }, at) => {
        const of = whole[at]!.head;
        const tail = (values: Float64Array) => values.subarray((values.length / T) * cut);
        for (const name of ['iPre', 'fPre', 'm', 'i', 'f'] as const) {
          expect(relativeRms(head.gates[name], tail(of.gates[name])), name).toBeLessThan(tolerance);
        }
        if (head instanceof MlstmHeadTrace && of instanceof MlstmHeadTrace) {
          expect(relativeRms(head.C(T - cut - 1), of.C(T - 1))).toBeLessThan(tolerance);
          expect(relativeRms(head.memoryNorms, tail(of.memoryNorms))).toBeLessThan(tolerance);
        }
      });
    }
  });

  it('leaves no memory behind, and the state as it was', async () => {
    using model = LanguageModel.create(blocks, device, 1);
    using state = stateAfter(model, 5);
    const before = await Promise.all(state.tensors.map((tensor) => tensor.data()));
    const { bytes } = device.memory;
    await traceModel(model, tokens, { state });
    expect(device.memory.bytes).toBe(bytes);
    const after = await Promise.all(state.tensors.map((tensor) => tensor.data()));
    expect(after).toEqual(before);
  });
});

describe('what a trace says', () => {
  const device = testDevices()[0]!.create();

  it('the rows and the columns of the reads are the same numbers', async () => {
    using model = LanguageModel.create(blocks, device, 3);
    disturb(model);
    for (const { head } of headsOf(await traceModel(model, tokens))) {
      const reads = Array.from({ length: T }, (_, t) => head.reads(t));
      for (let s = 0; s < T; s++) expect([...head.readsOf(s)]).toEqual(reads.map((of) => of[s]));
      reads.forEach((of, t) => expect([...of.subarray(t + 1)]).toEqual(new Array(T - t - 1).fill(0)));
      if (head instanceof SlstmHeadTrace) {
        for (const of of reads) expect(of.reduce((sum, x) => sum + x, 0)).toBeCloseTo(1, 12);
      }
    }
  });

  it('the half-life is when a write has lost half', async () => {
    expect(halfLife(Math.log(0.5))).toBe(1);
    expect(halfLife(Math.log(2) / -10)).toBeCloseTo(10, 12);
    expect(halfLife(0)).toBe(Infinity);
    const forgetGateInit: [number, number] = [3, 3];
    const options = {
      ...blocks,
      blocks: ['mlstm'],
      mlstm: { heads: 1, forgetGateFrom: 'none' as const, forgetGateInit },
    };
    using model = LanguageModel.create(options, device, 1);
    const head = (await traceModel(model, tokens)).blocks[0]!.heads[0] as MlstmHeadTrace;
    const steps = head.gates.halfLives[0]!;
    expect(steps).toBeCloseTo(Math.LN2 / Math.log1p(Math.exp(-3)), 9); // 14.3 tokens
    const left = (t: number) => head.gates.weight(0, t) * Math.exp(head.gates.m[t]!);
    expect(left(14) / left(0)).toBeCloseTo(0.5 ** (14 / steps), 9);
    expect(head.gates.forget[5]).toBeCloseTo(1 / (1 + Math.exp(-3)), 6);
  });

  it('a model of vectors is traced as well; the mixers without such a memory have no heads', async () => {
    const ends = { input: { kind: 'vectors', width: 3 }, output: { kind: 'values', width: 1 } } as const;
    using model = SequenceModel.create(blocks, ends, device, 1);
    using x = Tensor.from(device, uniform(randomKey(5), 3 * T, -1, 1), [1, T, 3]);
    const trace = await traceModel(model, x);
    expect(trace.blocks.map(({ kind, heads }) => [kind, heads.length])).toEqual([
      ...[
        ['mlstm', 2],
        ['slstm', 2],
      ],
      ...[
        ['other', 0],
        ['mlstm', 3],
      ],
    ]);
    expect(trace.blocks.map(({ mixer }) => mixer)).toEqual(blocks.blocks);
  });

  it('needs one text that is not empty', async () => {
    using model = LanguageModel.create(blocks, device, 1);
    await expect(traceModel(model, [])).rejects.toThrow('at least one step, got [1,0]');
    using two = Tensor.from(device, new Int32Array(8), [2, 4]);
    await expect(traceModel(model, two)).rejects.toThrow('must be one sequence');
  });
});
