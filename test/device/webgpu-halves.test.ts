/**
 * @file Products in half precision on the WebGPU device: their programs are valid WGSL, which Dawn checks without a GPU; an
 * adapter without `shader-f16` is refused; where there is one with it, the products are right.
 */
import { afterAll, describe, expect, test } from 'vitest';
import { checkHalves } from '../../bench/webgpu/halves.js';
import { matrixUnit } from '../../src/device/webgpu/halves.js';
import { fitsTiles, MATRICES, unitConstants } from '../../src/device/webgpu/kernels/matmul-matrices.js';
import { HALVES } from '../../src/device/webgpu/kernels/matmul-tiles.js';
import { wgslOf } from '../../src/device/webgpu/program.js';
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { webGpuOrReason } from '../support/webgpu.js';

/** It must stay alive as long as its device. */
let dawn: GPU | undefined;

/** A device that runs nothing, with all features: its shaders are checked as everywhere. */
async function nullDevice(): Promise<GPUDevice | null> {
  const module = (await import('webgpu').catch(() => null)) as { create(options: string[]): GPU } | null;
  dawn = module?.create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  const adapter = await dawn?.requestAdapter();
  const names = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as GPUFeatureName[];
  if (!adapter || names.some((name) => !adapter.features.has(name))) return null;
  return adapter.requestDevice({ requiredFeatures: names });
}

const checker = await nullDevice();
const device = await webGpuOrReason({ products: 'float16' });

afterAll(() => {
  checker?.destroy();
  if (typeof device !== 'string') device.destroy();
});

const units = [
  { M: 16, N: 16, K: 16 },
  { M: 16, N: 8, K: 16 },
  { M: 8, N: 8, K: 8 },
];

describe.skipIf(checker === null)(
  'programs of half precision are valid (skipped without the npm package webgpu)',
  () => {
    const forms = [
      ...units.flatMap((unit) => [MATRICES.small, MATRICES.large].map(({ form }) => ({ form, unit }))),
      ...[HALVES.small, HALVES.large].map(({ form }) => ({ form, unit: units[0]! })),
    ];
    test.each(forms)('$form.name with matrices of $unit.M x $unit.N x $unit.K', async ({ form, unit }) => {
      for (const which of Array(8).keys()) {
        const options = { TRANS_A: (which & 1) > 0, TRANS_B: (which & 2) > 0, ACCUMULATE: (which & 4) > 0 };
        const constants = { ...options, ACTIVATION: 0, WHOLE: false, ...unitConstants(unit) };
        const code = wgslOf(form, [0, 1, 2, 3], constants, { isSoftware: false, hasSubgroups: true });
        const { messages } = await checker!.createShaderModule({ code }).getCompilationInfo();
        expect(messages.map(({ message }) => message)).toEqual([]);
      }
    });
  },
);

describe('the unit for small matrices', () => {
  const config = (componentType: string, resultComponentType: string, unit: (typeof units)[0]) => ({
    ...{ componentType, resultComponentType },
    ...unit,
  });
  const info = { subgroupMinSize: 32, subgroupMaxSize: 32 };

  test('is the first of float16 operands and float32 sums that fits the tiles', () => {
    const subgroupMatrixConfigs = [
      config('f16', 'f16', units[0]!),
      config('f16', 'f32', { M: 48, N: 16, K: 16 }),
      config('f16', 'f32', units[1]!),
      config('f16', 'f32', units[0]!),
    ];
    expect(matrixUnit({ ...info, subgroupMatrixConfigs }, fitsTiles)).toEqual(units[1]);
  });

  test('is none where subgroups are not of 32, or no unit is offered', () => {
    const subgroupMatrixConfigs = [config('f16', 'f32', units[0]!)];
    expect(matrixUnit({ ...info, subgroupMaxSize: 64, subgroupMatrixConfigs }, fitsTiles)).toBeNull();
    expect(matrixUnit(info, fitsTiles)).toBeNull();
  });
});

test.runIf(typeof device === 'string')('without shader-f16 there is a sentence, and no device', () => {
  expect(device).toMatch(
    /has no shader-f16, which float16 products need|needs the npm package webgpu|no GPU was found/,
  );
});

test.skipIf(typeof device === 'string')('products are right (skipped without a GPU that has shader-f16)', async () => {
  for (const { name, error, allowed } of await checkHalves(device as WebGpuDevice)) {
    expect.soft(error, name).toBeLessThanOrEqual(allowed);
  }
});
