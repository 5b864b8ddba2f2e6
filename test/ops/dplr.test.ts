/**
 * @file The matrix state of RWKV-7 where the self-test's small cases do not lead: more checkpoints than are kept at once,
 * any number of threads, the delta rule as its special case, and what it refuses.
 */
import { describe, expect, it, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { deltaRule } from '../../src/ops/delta-rule.js';
import { dplr, type DplrInputs } from '../../src/ops/dplr.js';
import { mul } from '../../src/ops/elementwise.js';
import { l2norm } from '../../src/ops/l2norm.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import { referenceDevice } from '../support/devices.js';

type Sizes = readonly [B: number, T: number, NH: number, DK: number, DV: number];

const NAMES = ['q', 'k', 'v', 'a', 'b', 'g'] as const;

/** Inputs of T steps, [T][width], with b of length one per head and a = -rate * b. */
function drawInputs([B, T, NH, DK, DV]: Sizes): Record<(typeof NAMES)[number], Float64Array> {
  const rows = B * T * NH;
  const random = (name: string, width: number) => new CaseRandom(name).floats(rows * width).data as Float64Array;
  const b = random('b', DK);
  for (let row = 0; row < rows; row++) {
    const own = b.subarray(row * DK, (row + 1) * DK);
    const norm = Math.hypot(...own);
    own.forEach((x, d) => (own[d] = x / norm));
  }
  const a = random('a', DK).map((x, at) => -b[at]! / (1 + Math.exp(-x)));
  const g = random('g', DK).map((x) => -0.05 * x * x);
  return { q: random('q', DK), k: random('k', DK), v: random('v', DV), a, b, g };
}

/** o, the last state and all gradients, the sequence (B = 1) run in pieces of `piece` steps with the state carried. */
async function results(device: Device, sizes: Sizes, piece = sizes[1]): Promise<Float64Array[]> {
  const [B, T, NH, DK, DV] = sizes;
  const data = drawInputs(sizes);
  const widthOf = (name: string): number => NH * (name === 'v' ? DV : DK);
  const tensors = scope(device, { record: true }, () => {
    const first = Tensor.full(device, [B, NH, DK, DV], 0.25);
    first.requiresGrad = true;
    let state = first;
    const outputs: Tensor[] = [];
    const inputs: Tensor[] = [];
    for (let from = 0; from < T; from += piece) {
      const xs = NAMES.map((name) => {
        const width = widthOf(name);
        const own = piece === T ? data[name] : data[name].subarray(from * width, (from + piece) * width);
        const x = Tensor.from(device, own.slice(), [B, piece, width]);
        x.requiresGrad = true;
        return x;
      });
      const named = Object.fromEntries(NAMES.map((name, k) => [name, xs[k]!])) as unknown as DplrInputs;
      const [o, last] = dplr(named, { heads: NH, state });
      outputs.push(o);
      inputs.push(...xs);
      state = last;
    }
    const cotangent = (x: Tensor) => Tensor.full(device, x.shape, 0.5);
    backward([...outputs, state].map((x) => [x, cotangent(x)] as const));
    return [...outputs, state, ...inputs.map((x) => x.gradTensor()), first.gradTensor()];
  });
  const read = await Promise.all(tensors.map(async (x) => Float64Array.from(await x.data())));
  tensors.forEach((x) => x.dispose());
  return read;
}

function expectClose(actual: Float64Array[], expected: Float64Array[], tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((x, k) => expect(relativeRms(x, expected[k]!), `result ${k}`).toBeLessThan(tolerance));
}

const cpu = cpuOrReason();
const device = cpu as Device;

describe.skipIf(typeof cpu === 'string')('on the cpu', () => {
  it('keeps fewer checkpoints of a long sequence and finds the same gradients', async () => {
    // A head of 256 by 256 keeps 248 checkpoints: blocks of 17 steps here, of 16 in each half.
    const [T, half] = [4100, 2050];
    const whole = await results(device, [1, T, 1, 256, 256]);
    const halves = await results(device, [1, T, 1, 256, 256], half);
    const join = (k: number, l: number) => Float64Array.from([...halves[k]!, ...halves[l]!]);
    const joined = [join(0, 1), halves[2]!, ...NAMES.map((_, k) => join(3 + k, 3 + NAMES.length + k)), halves.at(-1)!];
    expectClose(whole, joined, 1e-5);
  });

  it('is the reference for heads of several panels', async () => {
    const sizes: Sizes = [2, 75, 2, 37, 50];
    expectClose(await results(device, sizes), await results(referenceDevice(), sizes), 2e-6);
  });

  it('gives the same bits for any number of threads', async () => {
    const one = await results(cpuOrReason({ threads: 1 }) as Device, [2, 40, 3, 20, 36]);
    const three = await results(cpuOrReason({ threads: 3 }) as Device, [2, 40, 3, 20, 36]);
    cpuOrReason({ threads: 0 });
    expect(three).toEqual(one);
  });
});

test('with b = -k, a = beta k and one decay for all channels it is the delta rule, gradients included', async () => {
  const reference = referenceDevice();
  const [B, T, NH, DK, DV] = [2, 9, 1, 4, 3];
  const run = async (form: 'delta' | 'dplr'): Promise<Float64Array[]> => {
    const tensors = scope(reference, { record: true }, () => {
      const draw = (name: string, width: number, of = (x: number) => x): Tensor => {
        const x = new CaseRandom(name).floats(B * T * width).data as Float64Array;
        const tensor = Tensor.from(reference, x.map(of), [B, T, width]);
        tensor.requiresGrad = true;
        return tensor;
      };
      const [q, raw, v] = [draw('q', NH * DK), draw('k', NH * DK), draw('v', NH * DV)];
      const k = l2norm(raw, { eps: 0 });
      const constant = (width: number, value: number) => Tensor.full(reference, [B, T, width], value);
      // beta = 1/2 and a decay of e^-0.1, which the delta rule puts on what the key found as well.
      const scaled = (x: Tensor, factor: number) => mul(x, Tensor.full(reference, x.shape, factor));
      const [o] =
        form === 'delta'
          ? deltaRule({ q, k, v, beta: constant(NH, 0.5), g: constant(NH, -0.1) }, { scale: 1 })
          : dplr(
              {
                q,
                k: scaled(k, 0.5),
                v,
                a: scaled(k, 0.5 * Math.exp(-0.1)),
                b: scaled(k, -1),
                g: constant(NH * DK, -0.1),
              },
              { heads: NH },
            );
      backward([[o, Tensor.from(reference, new CaseRandom('do').floats(o.size).data!, o.shape)]]);
      return [o, ...[q, raw, v].map((x) => x.gradTensor())];
    });
    const read = await Promise.all(tensors.map(async (x) => Float64Array.from(await x.data())));
    tensors.forEach((x) => x.dispose());
    return read;
  };
  expectClose(await run('dplr'), await run('delta'), 1e-12);
});

describe('refuses', () => {
  const reference = referenceDevice();
  const x = (shape: number[]) => Tensor.full(reference, shape, 0.5);
  const wide = () => x([2, 3, 8]);
  const fitting = () => ({ q: wide(), k: wide(), v: x([2, 3, 4]), a: wide(), b: wide(), g: wide() });
  it('shapes that do not fit, and overwriting a state that has a gradient', () => {
    scope(reference, { record: true }, () => {
      expect(() => dplr({ ...fitting(), a: x([2, 3, 4]) }, { heads: 2 })).toThrow(/dplr: a must be \[2,3,8\]/);
      expect(() => dplr({ ...fitting(), v: x([2, 4, 4]) }, { heads: 2 })).toThrow(/dplr: v must be \[2,3,4\]/);
      expect(() => dplr(fitting(), { heads: 3 })).toThrow(/must be multiples of heads \(3\)/);
      expect(() => dplr({ ...fitting(), q: x([8]) }, { heads: 2 })).toThrow(/one step, \[B,NH\*DK\], got \[8\]/);
      expect(() => dplr(fitting(), { heads: 2, state: wide() })).toThrow(/state must be \[2,2,4,2\]/);
      const state = x([2, 2, 4, 2]);
      state.requiresGrad = true;
      expect(() => dplr(fitting(), { heads: 2, state, inPlace: true })).toThrow(/cannot be overwritten/);
    });
  });
});
