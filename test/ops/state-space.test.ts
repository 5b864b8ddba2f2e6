/**
 * @file Diagonal state-space ops beside the self-test: their gradients, the scan and the convolution as one, long memories,
 * any number of threads, many pieces, and what they refuse.
 */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { longConv } from '../../src/ops/long-conv.js';
import { diagonalScan, ssmDiscretize, ssmKernel, type SsmDiscretizeOptions } from '../../src/ops/state-space.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import { referenceDevice, testDevices } from '../support/devices.js';
import { gradcheck } from '../support/gradcheck.js';

const random = (seed: string, length: number): Float64Array => new CaseRandom(seed).floats(length).data as Float64Array;

/** [2,N,D]: real parts -1/memory for memories up to `longest` steps, angles of a few radians. */
function decaying(size: number, longest: number): Float64Array {
  const draw = new CaseRandom('z');
  const re = Array.from({ length: size }, () => -1 / longest ** draw.uniform());
  return Float64Array.from([...re, ...re.map(() => 2 * draw.normal())], Math.fround);
}

async function read(device: Device, body: () => readonly Tensor[]): Promise<Float64Array[]> {
  const tensors = scope(device, { record: true }, () => body().map((t) => t.retain()));
  const data = await Promise.all(tensors.map(async (t) => Float64Array.from(await t.data())));
  tensors.forEach((t) => t.dispose());
  return data;
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const [B, T, N, D] = [2, 7, 3, 5];
  const values = decaying(N * D, 10);
  const flags = Uint8Array.from([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
  const resets = (on: Device) => Tensor.from(on, flags, [B, T]);
  const model = [{ shape: [2, N, D] }, { shape: [2, N, D], values }];

  it.each([
    ['zero-order hold', {}],
    ['free real part', { realPart: 'free', scale: 2 }],
    ['softmax', { realPart: 'free', softmaxLength: 9 }],
  ] as [string, SsmDiscretizeOptions][])('gradients: discretisation and kernel, %s', async (_, options) => {
    const anchored = options.softmaxLength !== undefined;
    const f = (A: Tensor, C: Tensor, logDt: Tensor) => [ssmKernel(ssmDiscretize(A, C, logDt, options), 9, anchored)];
    const inputs = [
      { shape: [2, N, D] },
      { shape: [2, N, D] },
      { shape: [D], values: random('dt', D).map((x) => x - 2) },
    ];
    for (const which of [0, 1, 2])
      expect(await gradcheck(device, f as never, inputs, which), `input ${which}`).toBeLessThan(3e-5);
  });

  it('gradients: scan with skip and resets, and from a state', async () => {
    const f = (x: Tensor, c: Tensor, z: Tensor, skip: Tensor, state: Tensor) => [
      diagonalScan(x, { c, z }, { skip, reset: resets(x.device) })[0],
      ...diagonalScan(x, { c, z }, { state }),
    ];
    const inputs = [{ shape: [B, T, D] }, ...model, { shape: [D] }, { shape: [B, 2, N, D] }];
    for (const which of [0, 1, 2, 3, 4])
      expect(await gradcheck(device, f as never, inputs, which), `input ${which}`).toBeLessThan(3e-5);
  });

  it('scan = convolution with the kernel, forward and backward, also over documents and long memories', async () => {
    const [steps, width] = [150, 6];
    const z = decaying(N * width, 2000);
    const results = (form: 'scan' | 'convolution') =>
      read(device, () => {
        const x = Tensor.from(device, random('x', 2 * steps * width), [2, steps, width]);
        const c = Tensor.from(device, random('c', 2 * N * width), [2, N, width]);
        const zs = Tensor.from(device, z, [2, N, width]);
        const skip = Tensor.from(device, random('skip', width), [width]);
        const reset = Uint8Array.from({ length: 2 * steps }, (_, t) => Number(t === 20 || t === 230));
        const options = { skip, reset: Tensor.from(device, reset, [2, steps]) };
        const inputs = [x, c, zs, skip];
        inputs.forEach((t) => (t.requiresGrad = true));
        const y =
          form === 'scan'
            ? diagonalScan(x, { c, z: zs }, options)[0]
            : longConv(x, ssmKernel({ c, z: zs }, steps), options);
        backward([[y, Tensor.from(device, random('dy', y.size), y.shape)]]);
        return [y, ...inputs.map((t) => t.gradTensor())];
      });
    const [scan, convolution] = [await results('scan'), await results('convolution')];
    const tolerance = device.precision === 'float64' ? 1e-12 : 3e-6;
    scan.forEach((x, k) => expect(relativeRms(x, convolution[k]!), `result ${k}`).toBeLessThan(tolerance));
  });
});

const cpu = cpuOrReason();

describe.skipIf(typeof cpu === 'string')('on the cpu', () => {
  const [B, T, N, D] = [3, 40, 4, 37];
  /** Kernel, scan and all gradients, the kernel over several pieces of time. */
  const results = (device: Device, L: number) =>
    read(device, () => {
      const x = Tensor.from(device, random('x', B * T * D), [B, T, D]);
      const c = Tensor.from(device, random('c', 2 * N * D), [2, N, D]);
      const z = Tensor.from(device, decaying(N * D, 500), [2, N, D]);
      [x, c, z].forEach((t) => (t.requiresGrad = true));
      const kernel = ssmKernel({ c, z }, L);
      const [y] = diagonalScan(x, { c, z });
      backward([
        [kernel, Tensor.from(device, random('dkernel', L * D), [L, D])],
        [y, Tensor.from(device, random('dy', y.size), y.shape)],
      ]);
      return [kernel, y, ...[x, c, z].map((t) => t.gradTensor())];
    });

  it('many pieces agree with the definition', async () => {
    const [got, expected] = [await results(cpu as Device, 2500), await results(referenceDevice(), 2500)];
    got.forEach((x, k) => expect(relativeRms(x, expected[k]!), `result ${k}`).toBeLessThan(1e-6));
  });

  it('gives the same bits for any number of threads', async () => {
    const [one, three] = [
      await results(cpuOrReason({ threads: 1 }) as Device, 2500),
      await results(cpuOrReason({ threads: 3 }) as Device, 2500),
    ];
    cpuOrReason({ threads: 0 });
    expect(three).toEqual(one);
  });
});

describe('refuses', () => {
  const reference = referenceDevice();
  const x = (shape: number[]) => Tensor.full(reference, shape, 0.5);
  const inScope = (body: () => void) => scope(reference, {}, body);
  it('shapes that do not fit', () => {
    inScope(() => {
      expect(() => ssmDiscretize(x([3, 4, 5]), x([3, 4, 5]), x([5]))).toThrow(/A must be \[2,N,D\], got \[3,4,5\]/);
      expect(() => ssmDiscretize(x([2, 4, 5]), x([2, 4, 5]), x([4]))).toThrow(/logDt must be \[5\], got \[4\]/);
      expect(() => ssmKernel({ c: x([2, 4, 5]), z: x([2, 5, 4]) }, 3)).toThrow(/z must be \[2,4,5\]/);
      const model = { c: x([2, 4, 5]), z: x([2, 4, 5]) };
      expect(() => diagonalScan(x([2, 3, 6]), model)).toThrow(/c must be \[2,4,6\]/);
      expect(() => diagonalScan(x([2, 3, 5]), model, { state: x([2, 4, 5]) })).toThrow(/state must be \[2,2,4,5\]/);
    });
  });
});
