/** @file 60 training steps on the WebGPU device against PyTorch, as in `train-curve.test.ts`; skipped by name without an adapter. */
import { afterAll, describe, expect, test } from 'vitest';
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { trainCurve } from '../support/train-curve.js';
import { webGpuOrReason } from '../support/webgpu.js';

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';

afterAll(() => {
  if (typeof opened !== 'string') opened.destroy();
});

describe.skipIf(reason !== '')(`train_curve on webgpu${reason}`, () => {
  // 1.2e-6 and 7e-6 were seen; the bounds are those of the other float32 devices.
  test('60 losses within 2e-3 of the recorded ones', async () => {
    const seen: number[] = [];
    for await (const one of trainCurve(opened as WebGpuDevice, { checkpointBlocks: false })) {
      expect(Math.abs(one.loss - one.wanted), `loss of step ${one.step}`).toBeLessThan(2e-3);
      expect(Math.abs(one.gradientNorm / one.norm - 1), `gradient norm of step ${one.step}`).toBeLessThan(2e-2);
      seen.push(one.loss);
    }
    expect(seen).toHaveLength(60);
  }, 900_000);
});
