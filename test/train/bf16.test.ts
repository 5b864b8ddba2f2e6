/**
 * @file bf16 activations through model and trainer. The reference stores bf16 as float64, so that all of it must come out as
 * without bf16: this is about which buffer goes where, not about rounding, which a GPU shows (test/cuda).
 */
import { describe, expect, it } from 'vitest';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor, type FloatDtype } from '../../src/tensor/tensor.js';
import { linearConcat } from '../../src/ops/linear.js';
import { backward } from '../../src/tensor/tape.js';
import { Trainer, type HostBatch } from '../../src/train/trainer.js';

const BATCH: HostBatch = {
  B: 2,
  T: 5,
  tokens: Int32Array.from([1, 2, 3, 4, 5, 6, 0, 1, 2, 3]),
  targets: Int32Array.from([2, 3, 4, 5, -1, 0, 1, 2, 3, 4]),
  reset: Uint8Array.from([1, 0, 0, 1, 0, 1, 0, 0, 0, 0]),
};

const MODELS: Record<string, ModelConfigInput> = {
  'the architecture of the paper': { dim: 12, blocks: ['mlstm', 'slstm', 'lstm'], mlstm: { heads: 2 }, vocabSize: 7 },
  'xLSTM Large': {
    ...{ dim: 12, blocks: ['mlstmLarge', 'mlstmLarge'], mlstmLarge: { heads: 2 }, vocabSize: 7 },
    ...{ norm: 'rmsnorm', logitSoftCap: 30, tieWeights: true },
  },
  'learned positions and dropout': {
    ...{ dim: 12, blocks: ['slstm'], vocabSize: 7, positions: 'learned', maxLength: 8, dropout: 0.2 },
  },
};

async function train(config: ModelConfigInput, activations: FloatDtype, checkpointBlocks: boolean) {
  const device = createReferenceDevice();
  device.poison = true;
  const model = LanguageModel.create(config, device, 3);
  const optimizer = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' } as const;
  const rest = { gradientClip: 1, stateful: true, key: randomKey(1), checkpointBlocks };
  const trainer = new Trainer(model, { optimizer, activations, ...rest });
  const losses: number[] = [];
  for (let step = 0; step < 3; step++) losses.push((await trainer.step([BATCH, BATCH], 0.01, step)).loss);
  const parameters = await device.read(model.parameters.values);
  trainer.dispose();
  model.dispose();
  return { losses, parameters, held: device.memory.bytes };
}

describe.each(Object.entries(MODELS))('bf16 activations: %s', (_, config) => {
  it.each([false, true])('trains as without, with blocks recomputed: %s', async (checkpointBlocks) => {
    const [float, bf16] = [
      await train(config, 'float', checkpointBlocks),
      await train(config, 'bf16', checkpointBlocks),
    ];
    expect(bf16.losses).toEqual(float.losses);
    expect(bf16.parameters).toEqual(float.parameters);
    expect(bf16.held).toBe(0);
  });
});

/** Result and gradients of a map of two inputs whose result is float. */
async function mapped(stored: FloatDtype) {
  const device = createReferenceDevice();
  const tensors = scope(device, { record: true }, () => {
    const make = (seed: number, shape: readonly number[], dtype: FloatDtype = 'float') => {
      const tensor = Tensor.output(device, shape, dtype);
      device.write(tensor.buffer, normal(randomKey(seed), tensor.size));
      tensor.requiresGrad = true;
      return tensor;
    };
    const leaves = [make(1, [3, 4], stored), make(2, [3, 2], stored), make(3, [5, 6]), make(4, [5])] as const;
    const [a, b, weight, bias] = leaves;
    const y = linearConcat([a, b], weight, bias, { output: 'float' });
    backward([[y, make(5, [3, 5])]]);
    expect([y, a, b, weight].map(({ dtype }) => dtype)).toEqual(['float', stored, stored, 'float']);
    return [y, ...leaves.map((leaf) => leaf.gradTensor())];
  });
  expect(tensors.map(({ dtype }) => dtype)).toEqual(['float', stored, stored, 'float', 'float']);
  return Promise.all(tensors.map((tensor) => tensor.data()));
}

describe('a linear map of bf16', () => {
  it('may have a float result, whose gradient reaches inputs, weight and bias', async () => {
    expect(await mapped('bf16')).toEqual(await mapped('float'));
  });
});

describe('bf16 activations are refused', () => {
  const create = (blocks: string[], device = createReferenceDevice()) => {
    const model = LanguageModel.create({ dim: 8, blocks, vocabSize: 7 }, device);
    const optimizer = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, decay: 'all' } as const;
    const rest = { gradientClip: 1, stateful: false, checkpointBlocks: false, key: randomKey(0) };
    return () => new Trainer(model, { optimizer, activations: 'bf16', ...rest });
  };
  it('where a mixer has no kernels of them', () => {
    expect(create(['mlstm', 'mamba'])).toThrow('model: mamba has no bf16 activations yet; use float32');
  });
  it('where the device has none', () => {
    expect(create(['mlstm'], { ...createReferenceDevice(), hasBf16: false })).toThrow(
      'model: the device reference has no bf16 activations; use float32',
    );
  });
});
