/**
 * @file State: a model gives the same logits whether it reads a text whole, cut anywhere with carried state, or step by
 * step; and packed documents are as if each were alone.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packDocuments } from '../../src/data/pack.js';
import type { Device } from '../../src/device/device.js';
import { Session } from '../../src/generate/decode.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { sum } from '../../src/ops/sum.js';
import { lastStep } from '../../src/ops/time.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

const V = 31;
const config = {
  vocabSize: V,
  dim: 24,
  blocks: ['mlstm', 'slstm', 'lstm', 'mlstmLarge'],
  logitSoftCap: 30,
  positions: 'learned' as const,
  embeddingNorm: true,
  norm: 'layernormBias' as const,
  mlstm: { heads: 2, chunkSize: 5 },
  slstm: { heads: 2, recurrentInit: 'standard' as const },
  lstm: { heads: 3, recurrentInit: 'standard' as const },
};
const tokensOf = (seed: number, length: number) => Int32Array.from(uniform(randomKey(seed), length, 0, V), Math.floor);

/** Forward passes of different shapes round differently; seen: 4e-16 and 3e-7. */
const TOLERANCE = { float64: 1e-12, float32: 5e-6 };

async function logitsOf(
  model: LanguageModel,
  rows: Int32Array,
  shape: readonly [number, number],
  reset: Uint8Array | null,
) {
  const { device } = model;
  const logits = scope(device, {}, () => {
    const resets = reset === null ? null : Tensor.from(device, reset, shape);
    return model.logits(model.forward(Tensor.from(device, rows, shape), { reset: resets }).hidden);
  });
  const data = await logits.data();
  logits.dispose();
  return data;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device: Device = create();
  device.poison = true;
  const tolerance = TOLERANCE[device.precision];

  it.each<[string, Partial<ModelConfigInput>]>([
    ['xLSTM', {}],
    ['xLSTM Large', { blocks: ['slstm', 'mlstmLarge'] }],
    ['mLSTM', { blocks: ['slstm', 'mlstm'] }],
    ['mLSTM without up-projection', { blocks: ['mlstm'], mlstm: { heads: 2, upProjection: false } }],
    ['attention', { blocks: ['attention', 'attention'], attention: { heads: 2 } }],
    ['RWKV-4, whose channel mix reads each step', { blocks: ['rwkv4', 'rwkv4'], frame: 'residual' }],
    ['cells without a frame', { blocks: ['lstm'], frame: 'stacked' }],
  ])('the last output alone: %s', async (_, change) => {
    using model = LanguageModel.create({ ...config, ...change }, device, 1);
    const [B, T] = [2, 7];
    const resets = new Uint8Array(B * T);
    resets[3] = resets[T] = 1;
    const run = (outputs: 'all' | 'last') =>
      scope(device, {}, () => {
        const before = model.forward(Tensor.from(device, tokensOf(1, 2 * B), [B, 2])).state;
        const reset = Tensor.from(device, resets, [B, T]);
        const made = model.forward(Tensor.from(device, tokensOf(2, B * T), [B, T]), { state: before, reset, outputs });
        const { hidden, state } = made;
        return { hidden: lastStep(hidden), steps: hidden.extent(1), state };
      });
    const [all, last] = [run('all'), run('last')];
    expect([all.steps, last.steps]).toEqual([T, 1]);
    expect(relativeRms(await last.hidden.data(), await all.hidden.data())).toBeLessThan(tolerance);
    for (const [k, tensor] of all.state.tensors.entries()) {
      expect(relativeRms(await last.state.tensors[k]!.data(), await tensor.data())).toBeLessThan(tolerance);
    }
    for (const { hidden, state } of [all, last]) {
      hidden.dispose();
      state.dispose();
    }
  });

  it.each([1, 2])('gradients of the last output alone, of %d sequences', async (B) => {
    using model = LanguageModel.create(config, device, 1);
    const T = 6;
    const gradientOf = async (outputs: 'all' | 'last') => {
      model.parameters.zeroGradients();
      scope(device, { record: true }, () => {
        const { hidden } = model.forward(Tensor.from(device, tokensOf(2, B * T), [B, T]), { outputs });
        const y = lastStep(hidden);
        backward([[y, Tensor.from(device, uniform(randomKey(3), y.size, -1, 1), y.shape)]]);
      });
      return Float64Array.from((await device.read(model.parameters.gradients)) as Float32Array);
    };
    const all = await gradientOf('all');
    expect(relativeRms(await gradientOf('last'), all)).toBeLessThan(tolerance);
  });

  it('cut anywhere with carried state', async () => {
    using model = LanguageModel.create(config, device, 1);
    const T = 23;
    const tokens = tokensOf(2, T);
    const whole = await logitsOf(model, tokens, [1, T], null);
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: T - 1 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(cuts, async (places) => {
        const borders = [0, ...places.toSorted((a, b) => a - b), T];
        using session = new Session(model);
        for (let k = 1; k < borders.length; k++) {
          await session.read(tokens.subarray(borders[k - 1], borders[k]));
          const at = borders[k]! - 1;
          expect(relativeRms(session.logits!, whole.slice(at * V, (at + 1) * V))).toBeLessThan(tolerance);
        }
        expect(session.position).toBe(T);
      }),
      { numRuns: 25 },
    );
  });

  it('a cloned state goes on alone', async () => {
    using model = LanguageModel.create(config, device, 1);
    using first = new Session(model);
    await first.read(tokensOf(3, 9));
    using second = new Session(model, first.snapshot());
    await first.read(tokensOf(4, 5));
    await second.read(tokensOf(5, 7));
    using third = new Session(model);
    await third.read(Int32Array.from([...tokensOf(3, 9), ...tokensOf(5, 7)]));
    expect(relativeRms(second.logits!, third.logits!)).toBeLessThan(tolerance);
  });

  it('packed documents are as if each were alone: logits and gradients', async () => {
    using model = LanguageModel.create(config, device, 1);
    const documents = [12, 3, 7, 2, 9, 5].map((length, k) => tokensOf(10 + k, length));
    const T = 14;
    const packed = packDocuments(documents, T);
    const logits = await logitsOf(model, packed.tokens, [packed.B, T], packed.reset);
    for (const [k, { row, start, length }] of packed.placements.entries()) {
      const alone = await logitsOf(model, documents[k]!.subarray(0, length), [1, length], null);
      const here = logits.slice((row * T + start) * V, (row * T + start + length) * V);
      expect(relativeRms(here, alone), `document ${k}`).toBeLessThan(tolerance);
    }

    const gradientOf = async (
      batches: { tokens: Int32Array; targets: Int32Array; shape: number[]; reset: Uint8Array | null }[],
    ) => {
      model.parameters.zeroGradients();
      for (const { tokens, targets, shape, reset } of batches) {
        scope(device, { record: true }, () => {
          const resets = reset === null ? null : Tensor.from(device, reset, shape);
          const inputs = [Tensor.from(device, tokens, shape), Tensor.from(device, targets, shape)] as const;
          backward(sum(model.losses(...inputs, { reset: resets }).losses), { release: true });
        });
      }
      return (await device.read(model.parameters.gradients)) as Float64Array;
    };
    const together = await gradientOf([{ ...packed, shape: [packed.B, T] }]);
    const apart = await gradientOf(
      documents.map((tokens) => ({
        tokens: tokens.slice(0, -1),
        targets: tokens.slice(1),
        shape: [1, tokens.length - 1],
        reset: null,
      })),
    );
    expect(relativeRms(together, apart)).toBeLessThan(tolerance);
  });

  it('causal: a change at t moves no logit before t', async () => {
    using model = LanguageModel.create(config, device, 1);
    const T = 17;
    const tokens = tokensOf(6, T);
    const before = await logitsOf(model, tokens, [1, T], null);
    for (const t of [0, 5, 16]) {
      const changed = tokens.slice();
      changed[t] = (changed[t]! + 1) % V;
      const after = await logitsOf(model, changed, [1, T], null);
      expect([...after.slice(0, t * V)]).toEqual([...before.slice(0, t * V)]);
      expect(relativeRms(after.slice(t * V), before.slice(t * V))).toBeGreaterThan(1e-4);
    }
  });
});
