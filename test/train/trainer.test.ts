/** @file The trainer: accumulation, checkpointed blocks, clipping, carried state, steps that are not finite. */
import { describe, expect, it } from 'vitest';
import type { Device, FloatArray } from '../../src/device/device.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey, uniform } from '../../src/tensor/random.js';
import { findNonFinite } from '../../src/train/diagnose.js';
import { Trainer, type HostBatch, type TrainerOptions } from '../../src/train/trainer.js';
import { relativeRms } from '../support/compare.js';
import { testDevices } from '../support/devices.js';

const V = 29;
const config = {
  vocabSize: V,
  dim: 16,
  blocks: ['mlstm', 'slstm'],
  mlstm: { heads: 2, chunkSize: 4 },
  slstm: { heads: 2 },
  dropout: 0.1,
};
const options: TrainerOptions = {
  optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
  gradientClip: 1,
  checkpointBlocks: false,
  stateful: false,
  key: randomKey(0),
};

function batch(seed: number, B: number, T: number): HostBatch {
  const stream = Int32Array.from(uniform(randomKey(seed), B * (T + 1), 0, V), Math.floor);
  const rows = (shift: number) =>
    Int32Array.from({ length: B * T }, (_, k) => stream[Math.floor(k / T) * (T + 1) + (k % T) + shift]!);
  return { B, T, tokens: rows(0), targets: rows(1), reset: null };
}

const slice = ({ B, T, tokens, targets }: HostBatch, row: number): HostBatch => ({
  B: 1,
  T,
  tokens: tokens.slice(row * T, (row + 1) * T),
  targets: targets.slice(row * T, (row + 1) * T).map((t, k) => (row === B - 1 && k > T / 2 ? -1 : t)),
  reset: null,
});

async function trained(
  device: Device,
  batches: readonly HostBatch[][],
  changes: Partial<TrainerOptions> = {},
  dropout = 0,
) {
  using model = LanguageModel.create({ ...config, dropout }, device, 4);
  const trainer = new Trainer(model, { ...options, ...changes });
  const results = [];
  for (const [index, micro] of batches.entries()) results.push(await trainer.step(micro, 0.01, index));
  const values = (await device.read(model.parameters.values)) as FloatArray;
  trainer.dispose();
  return { results, values };
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const tolerance = device.precision === 'float64' ? 1e-9 : 1e-4;

  it('accumulated micro-batches make the step of one large batch, uneven numbers of targets included', async () => {
    const whole = batch(1, 3, 9);
    const rows = [0, 1, 2].map((row) => slice(whole, row));
    const joined: HostBatch = { ...whole, targets: Int32Array.from(rows.flatMap(({ targets }) => [...targets])) };
    const [one, many] = [await trained(device, [[joined]]), await trained(device, [rows])];
    expect(many.results[0]!.loss).toBeCloseTo(one.results[0]!.loss, 5);
    expect(relativeRms(many.values, one.values)).toBeLessThan(tolerance);
  });

  it('checkpointed blocks compute the same bits, dropout included, with less memory', async () => {
    const batches = [1, 2, 3].map((seed) => [batch(seed, 2, 40)]);
    device.memory.resetPeak();
    const plain = await trained(device, batches, {}, 0.2);
    const plainPeak = device.memory.peak;
    device.memory.resetPeak();
    const checkpointed = await trained(device, batches, { checkpointBlocks: true }, 0.2);
    expect([...checkpointed.values]).toEqual([...plain.values]);
    expect(device.memory.peak).toBeLessThan(plainPeak);
  });

  it('clips to the global norm', async () => {
    const big = await trained(device, [[batch(1, 2, 9)]], {
      gradientClip: 1e-3,
      optimizer: { ...options.optimizer, eps: 1 },
    });
    const none = await trained(device, [[batch(1, 2, 9)]], {
      gradientClip: Infinity,
      optimizer: { ...options.optimizer, eps: 1 },
    });
    expect(big.results[0]!.gradientNorm).toBe(none.results[0]!.gradientNorm);
    expect(relativeRms(big.values, none.values)).toBeGreaterThan(1e-6);
  });

  it('carries state from step to step when stateful, and only then', async () => {
    const batches = [[batch(1, 2, 9)], [batch(2, 2, 9)]];
    const [fresh, carried] = [await trained(device, batches), await trained(device, batches, { stateful: true })];
    expect(carried.results[0]!.loss).toBe(fresh.results[0]!.loss);
    expect(carried.results[1]!.loss).not.toBe(fresh.results[1]!.loss);
  });

  it('memory does not grow over 1,000 steps', async () => {
    using model = LanguageModel.create(config, device, 4);
    const trainer = new Trainer(model, { ...options, stateful: true });
    const sizes = [];
    let resident = 0;
    const steps = device.name === 'reference' ? 50 : 1100;
    for (let step = 0; step < steps; step++) {
      device.memory.resetPeak();
      await trainer.step([batch(step % 7, 2, 9)], 0.01, step);
      sizes.push(`${device.memory.bytes} held, ${device.memory.peak} at most`);
      if (step === steps - 1001) resident = process.memoryUsage().rss;
    }
    expect(new Set(sizes.slice(1)).size).toBe(1);
    // The process breathes with V8's collections by some megabytes; a leak of one batch a step would be 100 MB.
    if (resident > 0) expect(process.memoryUsage().rss - resident).toBeLessThan(32e6);
    trainer.dispose();
  });

  it.each([
    ['parameter', 'blocks.1.mixer.zgate.weight'],
    ['activation', 'blocks.0/'],
  ])('a %s that is not finite: no update, and the diagnosis names it', async (kind, name) => {
    using model = LanguageModel.create(config, device, 4);
    const trainer = new Trainer(model, options);
    const target = kind === 'parameter' ? name : 'blocks.0.mixer.up.weight';
    const { buffer, size } = model.parameters.tensors[target]!;
    device.kernels.fill(device.view(buffer, 3, 1), kind === 'parameter' ? NaN : 1e38, 1);
    if (kind === 'activation')
      device.kernels.fill(device.view(buffer, 0, size), device.precision === 'float64' ? 1e307 : 3e38, size);
    const before = (await device.read(model.parameters.values)) as FloatArray;
    const result = await trainer.step([batch(1, 2, 9)], 0.01, 0);
    expect(result.skipped).toBe(true);
    const after = (await device.read(model.parameters.values)) as FloatArray;
    expect(after.every((x, k) => Object.is(x, before[k]))).toBe(true);
    const found = await findNonFinite(trainer, batch(1, 2, 9), 0, null);
    expect(found).toMatchObject({ kind });
    expect(found!.name.startsWith(name)).toBe(true);
    trainer.dispose();
  });

  it('a batch without targets is refused', async () => {
    using model = LanguageModel.create(config, device, 4);
    const trainer = new Trainer(model, options);
    const empty = { ...batch(1, 1, 5), targets: new Int32Array(5).fill(-1) };
    await expect(trainer.step([empty], 0.01, 0)).rejects.toThrow('no batch has a target');
    trainer.dispose();
  });

  it('nothing is left over', () => expect(device.memory.bytes).toBe(0));
});
