/** @file A training step that was recorded and is replayed does what one does that is not. */
import { describe, expect, it } from 'vitest';
import type { Device, FloatArray } from '../../src/device/device.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { Trainer, type HostBatch, type StepResult, type TrainerOptions } from '../../src/train/trainer.js';
import { relativeRms } from '../support/compare.js';
import { recordingDevice } from '../support/recording.js';

const V = 29;
const config = { vocabSize: V, dim: 16, blocks: ['mlstm', 'slstm'], mlstm: { heads: 2 }, slstm: { heads: 2 } };
const options: TrainerOptions = {
  optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
  gradientClip: 1,
  checkpointBlocks: false,
  stateful: false,
  key: randomKey(0),
};

/** With a reset and a position without target, so that both count. */
function batch(seed: number, B = 2, T = 9, reset = true): HostBatch {
  const numbers = (key: number) => Int32Array.from(uniform(randomKey(key), B * T, 0, V), Math.floor);
  const targets = numbers(100 + seed);
  targets.fill(-1, 0, 1 + (seed % 3));
  return {
    B,
    T,
    tokens: numbers(seed),
    targets,
    reset: reset ? Uint8Array.from(targets, (t) => Number(t === 3)) : null,
  };
}

const constantShape = [1, 2, 3, 4, 5, 6].map((seed) => [batch(seed)]);

async function train(
  device: Device,
  steps: readonly HostBatch[][],
  changes: Partial<TrainerOptions> = {},
  between: (step: number) => void = () => {},
): Promise<{ results: StepResult[]; values: FloatArray; updates: number }> {
  const before = device.memory.bytes;
  const model = LanguageModel.create(config, device, 4);
  const trainer = new Trainer(model, { ...options, ...changes });
  const results: StepResult[] = [];
  for (const [index, micro] of steps.entries()) {
    results.push(await trainer.step(micro, 0.01 / (1 + index), index));
    between(index);
  }
  const values = (await device.read(model.parameters.values)) as FloatArray;
  const updates = trainer.optimizer.step;
  trainer.dispose();
  model.dispose();
  expect(device.memory.bytes, 'all memory was given back').toBe(before);
  return { results, values, updates };
}

/** @returns the counts of the device that records */
async function expectSame(
  steps: readonly HostBatch[][],
  changes: Partial<TrainerOptions> = {},
  between: (device: ReturnType<typeof recordingDevice>, step: number) => void = () => {},
) {
  const device = recordingDevice();
  device.poison = true;
  const expected = await train(createReferenceDevice(), steps, changes);
  const found = await train(device, steps, changes, (step) => between(device, step));
  expect(relativeRms(found.values, expected.values)).toBeLessThan(1e-12);
  expect(found.updates).toBe(expected.updates);
  found.results.forEach((result, k) => {
    const { loss, gradientNorm, ...rest } = expected.results[k]!;
    expect(result).toMatchObject(rest);
    expect(result.loss).toBeCloseTo(loss, 10);
    expect(result.gradientNorm).toBeCloseTo(gradientNorm, 10);
  });
  expect(device.counts.alive).toBe(0);
  return device.counts;
}

describe('a recorded step', () => {
  it('is recorded once and replayed for each further batch', async () => {
    expect(await expectSame(constantShape)).toMatchObject({ made: 1, launches: constantShape.length - 1 });
  });

  it('with bf16 activations, checkpointed blocks and micro-batches', async () => {
    const micro = [1, 2, 3, 4].map((seed) => [batch(seed), batch(10 + seed, 1, 5, false)]);
    const changes = { activations: 'bf16', checkpointBlocks: true } as const;
    expect(await expectSame(micro, changes)).toMatchObject({ made: 1, launches: 3 });
  });

  it('without a limit on the gradient', async () => {
    await expectSame(constantShape, { gradientClip: Infinity });
  });

  it('gives way to a plain step where the shape changes, and is recorded anew where it stays so', async () => {
    const shapes = [9, 9, 9, 4, 9, 4, 4, 4].map((T, seed) => [batch(seed, 2, T)]);
    expect(await expectSame(shapes)).toMatchObject({ made: 2, launches: 5 });
  });

  it('is recorded anew when the device has taken it back', async () => {
    const takeBack = (device: ReturnType<typeof recordingDevice>, step: number): void => {
      if (step === 2) device.takeBack();
    };
    expect(await expectSame(constantShape, {}, takeBack)).toMatchObject({ made: 2 });
  });

  it('leaves the parameters as they are where the gradient is not finite', async () => {
    const device = recordingDevice();
    using model = LanguageModel.create(config, device, 4);
    const trainer = new Trainer(model, options);
    for (const step of [0, 1]) await trainer.step([batch(step)], 0.01, step);
    model.parameters.write('norm.weight', new Float64Array(16).fill(NaN));
    const before = await device.read(model.parameters.values);
    const { skipped } = await trainer.step([batch(2)], 0.01, 2);
    expect(device.counts.launches).toBe(2);
    expect(skipped).toBe(true);
    expect(trainer.optimizer.step).toBe(2);
    expect(await device.read(model.parameters.values)).toEqual(before);
    trainer.dispose();
  });

  it('is not made with dropout or a carried state, which differ from step to step', async () => {
    expect(await expectSame(constantShape, { stateful: true })).toMatchObject({ made: 0 });
    const device = recordingDevice();
    using model = LanguageModel.create({ ...config, dropout: 0.1 }, device, 4);
    const trainer = new Trainer(model, options);
    for (const step of [0, 1, 2]) await trainer.step([batch(step)], 0.01, step);
    expect(device.counts.made).toBe(0);
    trainer.dispose();
  });
});
