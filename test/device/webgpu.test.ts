/**
 * @file The WebGPU device in Node, through Dawn: every kernel against the reference, cells against recorded
 * numbers, and what it says where something is missing or breaks. What is written otherwise for other adapters is in
 * `webgpu-forms.test.ts`. Without an adapter its tests are skipped by name.
 */
import { afterAll, describe, expect, test, vi } from 'vitest';
import { KERNEL_NAMES } from '../../src/device/kernel-names.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { describeFailure, selftest } from '../../src/device/selftest/selftest.js';
import { ABSENT } from '../../src/device/webgpu/absent.js';
import { OutOfMemoryError } from '../../src/device/out-of-memory.js';
import { modelConfigSchema } from '../../src/model/config.js';
import { LanguageModel, parameterTable } from '../../src/model/language-model.js';
import { openModel } from '../../src/model/open-model.js';
import { Parameters } from '../../src/model/parameters.js';
import { scope } from '../../src/tensor/scope.js';
import { createWebGpuDevice, type WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { mlstmGolden, mlstmGoldenGaps, recurrentGoldenGaps } from '../support/golden-cells.js';
import { webGpuOrReason } from '../support/webgpu.js';

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';
const device = opened as WebGpuDevice;
const present = KERNEL_NAMES.filter((name) => !(name in ABSENT));

/** A Dawn of our own, which must stay alive as long as a device of it. */
let gpu: GPU | null = null;
async function dawn(): Promise<GPU> {
  const name: string = 'webgpu';
  const { create } = (await import(name)) as { create(options: string[]): GPU };
  return (gpu ??= create([]));
}

afterAll(() => {
  if (typeof opened !== 'string') opened.destroy();
});

describe('where there is no adapter', () => {
  test('the error says what to install', async () => {
    const gpu = { requestAdapter: async () => null };
    await expect(createWebGpuDevice({ gpu })).rejects.toThrow(
      /^webgpu: no GPU was found\. Install a driver .* or use --device cpu\.$/,
    );
  });

  test('and no package, that it is to be installed', async () => {
    vi.resetModules();
    vi.doMock('webgpu', () => {
      throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
    });
    const fresh = await import('../../src/device/webgpu/webgpu.js');
    await expect(fresh.createWebGpuDevice()).rejects.toThrow(/npm package webgpu .*run: npm install webgpu/);
    vi.doUnmock('webgpu');
    vi.resetModules();
  });
});

describe.skipIf(reason !== '')(`the webgpu device${reason}`, () => {
  test('agrees with the reference in every kernel that it has', async () => {
    const results = await selftest(device, createReferenceDevice(), { kernels: present });
    expect(results.filter(({ ok }) => !ok).map(describeFailure)).toEqual([]);
    expect(new Set(results.map(({ kernel }) => kernel)).size).toBe(present.length);
  }, 400_000);

  test('says which kernels are absent, and why', () => {
    expect(device.absent.size).toBe(Object.keys(ABSENT).length);
    expect(() => device.kernels.packRows(null as never, null as never, 1, 1, 0, 0)).toThrow(
      /^webgpu: the kernel packRows is not there: matrices are packed once/,
    );
  });

  test.each(mlstmGolden)('matches $file', async (golden) => {
    for (const { tensor, gap } of await mlstmGoldenGaps(device, golden, 64)) expect(gap, tensor).toBeLessThan(1e-5);
  });

  test.each(['slstm', 'lstm'] as const)('matches %s_cell', async (cell) => {
    for (const { tensor, gap } of await recurrentGoldenGaps(device, cell)) expect(gap, tensor).toBeLessThan(1e-5);
  });

  test('uses views that begin anywhere, also two of one buffer in one kernel', async () => {
    const whole = device.alloc('float', 20);
    device.write(
      whole,
      Float32Array.from({ length: 20 }, (_, n) => n),
    );
    const [a, b] = [device.view(whole, 3, 5), device.view(whole, 11, 5)];
    device.kernels.add(a, a, b, 5);
    expect([...(await device.read(device.view(whole, 2, 7)))]).toEqual([2, 14, 16, 18, 20, 22, 8]);
    device.free(whole);
  });

  test('bytes that fill no whole word are written and read', async () => {
    const bytes = device.alloc('uint8', 7);
    device.write(bytes, Uint8Array.of(1, 2, 3, 4, 5, 6, 7));
    expect([...(await device.read(bytes))]).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([...(await device.read(device.view(bytes, 3, 3)))]).toEqual([4, 5, 6]);
    device.free(bytes);
  });

  test('gives memory out again, and counts it', () => {
    const before = device.memory.bytes;
    const first = device.alloc('float', 1000);
    expect(device.memory.bytes).toBe(before + 4000);
    device.free(first);
    expect(device.memory.bytes).toBe(before);
    const second = device.alloc('float', 1000);
    expect((second as typeof first & { memory: object }).memory).toBe(
      (first as typeof first & { memory: object }).memory,
    );
    device.free(second);
    expect(() => device.kernels.fill(first, 0, 1)).toThrow('already freed');
  });
});

describe.skipIf(reason !== '')(`what the webgpu device says of faults${reason}`, () => {
  test('a token outside of the vocabulary is reported by the next read, once', async () => {
    const [y, tokens, table] = [device.alloc('float', 4), device.alloc('int32', 2), device.alloc('float', 6)];
    device.write(tokens, Int32Array.of(1, 3));
    device.kernels.embeddingForward(y, tokens, table, 2, 2, 3);
    await expect(device.read(y)).rejects.toThrow(
      'webgpu: embeddingForward: token 3 at position 1 lies outside of the vocabulary 0..2',
    );
    await device.read(y);
    for (const buffer of [y, tokens, table]) device.free(buffer);
  });

  test('a buffer beyond the limits of the adapter names size and limit', () => {
    expect(() => device.alloc('float', 2 ** 40)).toThrow(
      /^webgpu: a float buffer of 1099511627776 elements takes 4\.\d+ TB?i?B?, this adapter allows .* \(max\w+\); take a smaller/,
    );
  });

  test('and a model that does not fit says what of it', () => {
    const table = { 'a/weight': { shape: [2 ** 20, 2 ** 20], initial: { kind: 'zeros' }, decay: true } };
    expect(() => new Parameters(device, table as never)).toThrow(
      /^the parameters of the model, all in one buffer \(the largest is a\/weight \[1048576,1048576\]\): webgpu: a float buffer of 1099511627776 elements/,
    );
    const gate = () => scope(device, {}, (inner) => inner.within('blocks/3', () => inner.alloc('float', 2 ** 40)));
    expect(gate).toThrow(/^blocks\/3: webgpu: a float buffer of 1099511627776 elements/);
  });

  test('limits are those of the adapter: with smaller ones, a model says which tensor and which limit', async () => {
    const adapter = (await (await dawn()).requestAdapter())!;
    const small = {
      maxBufferSize: 2 ** 28,
      maxStorageBufferBindingSize: 2 ** 27,
      maxComputeWorkgroupStorageSize: 16384,
    };
    const limits = new Proxy(adapter.limits, {
      get: (own, name) => small[name as keyof typeof small] ?? own[name as keyof GPUSupportedLimits],
    });
    const asked: unknown[] = [];
    const requestDevice = (descriptor: GPUDeviceDescriptor) => {
      asked.push(descriptor.requiredLimits);
      return adapter.requestDevice(descriptor);
    };
    const gpu = {
      requestAdapter: async () => ({ limits, features: adapter.features, info: adapter.info, requestDevice }),
    };
    const narrow = await createWebGpuDevice({ gpu });
    expect(asked).toEqual([small]);
    const config = { vocabSize: 2 ** 20, dim: 64, blocks: ['slstm'], tieWeights: true };
    const fits = 'this adapter allows 134.2 MB in one buffer (maxStorageBufferBindingSize); take a smaller model';
    const refused = (body: () => unknown) => {
      try {
        body();
      } catch (error) {
        expect(error).toMatchObject({ name: 'BufferLimitError', limit: 'maxStorageBufferBindingSize', most: 2 ** 27 });
        return (error as Error).message;
      }
      throw new Error('it fits');
    };
    const toTrain = refused(() => new LanguageModel(config, narrow));
    expect(toTrain).toMatch(
      /^the parameters of the model, all in one buffer \(the largest is embedding\.weight \[1048576,64\]\)/,
    );
    expect(toTrain).toContain(fits);
    const parameters = new Map(
      Object.entries(parameterTable(config)).map(([name, { shape }]) => {
        const bytes = () => new Uint8Array(4 * shape.reduce((product, extent) => product * extent, 1));
        const place = { name, tensor: name, shape, dtype: 'F32', packing: null, byteLength: 4 } as const;
        return [name, { ...place, bytes, memory: () => null }];
      }),
    );
    const checked = modelConfigSchema.parse(config);
    const toRun = refused(() => openModel(checked, parameters, narrow, 'folder', { storage: 'stored' }));
    expect(toRun).toMatch(
      /^embedding\.weight \[1048576,64\]: webgpu: a float buffer of 67108864 elements takes 268\.4 MB/,
    );
    expect(toRun).toContain(fits);
    narrow.destroy();
  });

  test('memory that the GPU does not have is that error of every device', async () => {
    const full = await createWebGpuDevice();
    const x = full.alloc('float', 100);
    full.kernels.fill(x, 1, 100);
    class GPUOutOfMemoryError {
      readonly message = 'Buffer allocation failed. ';
    }
    vi.spyOn(full.gpuDevice as GPUDevice, 'popErrorScope').mockResolvedValue(new GPUOutOfMemoryError());
    await expect(full.read(x)).rejects.toThrow(
      /^webgpu: the GPU has no memory left \(buffers hold \d+ B\): Buffer allocation failed\.$/,
    );
    await expect(full.read(x)).rejects.toThrow(OutOfMemoryError);
    full.destroy();
  });

  test('an adapter that gives no device says why', async () => {
    const requestDevice = () => Promise.reject(new Error('limit out of range'));
    const info = { vendor: 'some', architecture: 'gpu', isFallbackAdapter: false };
    const gpu = { requestAdapter: async () => ({ limits: {}, features: new Set(), info, requestDevice }) };
    await expect(createWebGpuDevice({ gpu })).rejects.toThrow('webgpu: some gpu gives no device: limit out of range');
  });

  test('a lost device says so in the middle of a step and ever after', async () => {
    const lost = await createWebGpuDevice();
    const x = lost.alloc('float', 100);
    lost.kernels.fill(x, 1, 100);
    (lost.gpuDevice as GPUDevice).destroy();
    lost.kernels.fill(x, 2, 100);
    await expect(lost.read(x)).rejects.toThrow(/^webgpu: the device was lost \(.+\); what was on it is gone/);
    expect(() => lost.kernels.fill(x, 3, 100)).toThrow('webgpu: the device was lost');
    expect(() => lost.alloc('float', 1)).toThrow('webgpu: the device was lost');
  });
});
