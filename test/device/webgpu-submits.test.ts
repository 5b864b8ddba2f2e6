/** @file How often the WebGPU device submits work: once for a step of training or a token, however many kernels that takes. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { Session } from '../../src/generate/decode.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { randomKey } from '../../src/tensor/random.js';
import { takeSnapshot } from '../../src/train/snapshot.js';
import { Trainer, type HostBatch } from '../../src/train/trainer.js';
import { webGpuOrReason } from '../support/webgpu.js';

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';

const batch = (B: number, T: number): HostBatch => ({
  ...{ B, T, reset: new Uint8Array(B * T) },
  tokens: Int32Array.from({ length: B * T }, (_, n) => (7 * n) % 50),
  targets: Int32Array.from({ length: B * T }, (_, n) => (7 * n + 7) % 50),
});

describe.skipIf(reason !== '')(`work is submitted${reason}`, () => {
  const device = opened as WebGpuDevice;
  const { queue } = typeof opened === 'string' ? { queue: null as never } : (opened.gpuDevice as GPUDevice);
  const options = {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
    ...{ gradientClip: 1, checkpointBlocks: false, stateful: true, key: randomKey(1) },
  } as const;
  let model: LanguageModel;
  let trainer: Trainer;
  beforeAll(() => {
    const blocks = Array.from({ length: 12 }, () => 'slstm');
    const config = { vocabSize: 50, dim: 8, blocks, slstm: { heads: 2 }, dropout: 0.1 };
    model = LanguageModel.create(config, device, 1);
    trainer = new Trainer(model, options);
  });
  afterAll(() => {
    if (typeof opened !== 'string') opened.destroy();
  });

  /** How often something is submitted while `body` runs. */
  async function counted(body: () => Promise<unknown>): Promise<{ submits: number }> {
    const submit = vi.spyOn(queue, 'submit');
    try {
      await body();
      return { submits: submit.mock.calls.length };
    } finally {
      submit.mockRestore();
    }
  }

  test('once in a step of training, of one micro-batch or several', async () => {
    await trainer.step([batch(2, 6)], 1e-3, 0);
    for (const micro of [1, 3]) {
      const batches = Array.from({ length: micro }, () => batch(2, 6));
      const { submits } = await counted(() => trainer.step(batches, 1e-3, 1));
      expect(submits).toBe(1);
    }
  }, 300_000);

  test('once too with a snapshot before the step, which it does not wait for', async () => {
    let snapshot: ReturnType<typeof takeSnapshot> | null = null;
    const { submits } = await counted(async () => {
      snapshot = takeSnapshot(trainer, 2);
      await trainer.step([batch(2, 6)], 1e-3, 2);
    });
    expect(submits).toBe(1);
    expect((await snapshot!).updates).toBe(trainer.optimizer.step - 1);
  }, 300_000);

  test('before the numbers of a step are there, those of the next can be enqueued', async () => {
    const alone = LanguageModel.create(model.config, device, 2);
    const ahead = LanguageModel.create(model.config, device, 2);
    const losses: number[][] = [[], []];
    const waiting = new Trainer(alone, options);
    for (let step = 0; step < 3; step++) losses[0]!.push((await waiting.step([batch(2, 6)], 1e-2, step)).loss);
    const running = new Trainer(ahead, options);
    const steps = [0, 1, 2].map((step) => running.step([batch(2, 6)], 1e-2, step));
    for (const { loss } of await Promise.all(steps)) losses[1]!.push(loss);
    expect(losses[1]).toEqual(losses[0]);
    expect(losses[0]![2]).toBeLessThan(losses[0]![0]!);
    expect(await modelFingerprint(ahead)).toBe(await modelFingerprint(alone));
    for (const one of [waiting, running, alone, ahead]) one.dispose();
  }, 300_000);

  test('once for a token', async () => {
    using session = new Session(model);
    await session.read(Int32Array.of(1, 2, 3));
    await session.read(Int32Array.of(4));
    expect((await counted(() => session.read(Int32Array.of(5)))).submits).toBe(1);
  }, 300_000);

  test('a write between two kernels that use its buffer comes between them', async () => {
    const [x, y] = [device.alloc('float', 4), device.alloc('float', 4)];
    const { submits } = await counted(async () => {
      device.kernels.fill(x, 1, 4);
      device.kernels.copy(y, x, 4);
      device.write(x, Float32Array.of(1, 2, 3, 4));
      device.kernels.add(y, y, x, 4);
      device.write(device.view(x, 1, 2), Float32Array.of(50, 60));
      device.kernels.add(y, y, x, 4);
      expect([...(await device.read(y))]).toEqual([3, 53, 64, 9]);
    });
    expect(submits).toBe(1);
    // More than fits in the middle of a command buffer.
    const large = device.alloc('float', 100_000);
    device.kernels.fill(large, 1, 100_000);
    device.write(large, new Float32Array(100_000).fill(2));
    device.kernels.add(large, large, large, 100_000);
    expect((await device.read(large)).every((value) => value === 4)).toBe(true);
    for (const buffer of [x, y, large]) device.free(buffer);
  });

  test('what is read together, together', async () => {
    const x = device.alloc('float', 4);
    const { submits } = await counted(async () => {
      device.kernels.fill(x, 1, 4);
      const first = device.read(x);
      device.kernels.fill(x, 2, 4);
      const second = device.read(x);
      expect([...(await first), ...(await second)]).toEqual([1, 1, 1, 1, 2, 2, 2, 2]);
    });
    expect(submits).toBe(1);
    device.free(x);
  });
});
