/**
 * @file S4 against what it stands for: the dense matrices with the bilinear transform, the generating function of its paper,
 * the convolution with its own kernel; and its gradients.
 */
import { describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.js';
import {
  complex,
  conjugate,
  minus,
  over,
  plus,
  scaled,
  times,
  type Complex,
} from '../../src/device/reference/complex.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { hippoLegs } from '../../src/layers/hippo.js';
import { longConv } from '../../src/ops/long-conv.js';
import { s4Kernel, s4Scan, type S4Model } from '../../src/ops/s4.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { relativeRms } from '../support/compare.js';
import { cpuOrReason } from '../support/cpu.js';
import { testDevices } from '../support/devices.js';
import { gradcheck } from '../support/gradcheck.js';

/** A model of one channel as numbers. */
interface Numbers {
  readonly A: readonly Complex[];
  readonly P: readonly Complex[];
  readonly Bm: readonly Complex[];
  readonly C: readonly Complex[];
  readonly dt: number;
}

const rounded = (x: readonly Complex[]): Complex[] => x.map(({ re, im }) => complex(Math.fround(re), Math.fround(im)));
/** e^(log x) with the logarithm, which is the parameter, in float32. */
const byLogarithm = (x: number): number => Math.exp(Math.fround(Math.log(x)));

/** HiPPO-LegS of `states` states with a random C; every parameter is a float32 number, so that devices get the same. */
function hippoModel(states: number, dt: number): Numbers {
  const { eigenvalues, P, B } = hippoLegs(states);
  const random = new CaseRandom(`C ${states}`);
  const C = B.map(() => complex(random.normal(), random.normal()));
  const A = rounded(eigenvalues).map(({ re, im }) => complex(-byLogarithm(-re), im));
  return { A, P: rounded(P), Bm: rounded(B), C: rounded(C), dt: byLogarithm(dt) };
}

const values = (x: readonly Complex[]): number[] => [...x.map(({ re }) => re), ...x.map(({ im }) => im)];

/** Tensors of a model whose `width` channels are all the same. */
function modelOn(device: Device, { A, P, Bm, C, dt }: Numbers, width = 1): S4Model {
  const tensor = (x: readonly number[]) =>
    Tensor.from(
      device,
      x.flatMap((v) => Array<number>(width).fill(v)),
      [2, A.length, width],
    );
  return {
    A: tensor([...A.map(({ re }) => Math.log(-re)), ...A.map(({ im }) => im)]),
    P: tensor(values(P)),
    Bm: tensor(values(Bm)),
    C: tensor(values(C)),
    logDt: Tensor.full(device, [width], Math.log(dt)),
  };
}

async function read(device: Device, body: () => Tensor): Promise<Float64Array> {
  const y = scope(device, {}, () => body().retain());
  const data = Float64Array.from(await y.data());
  y.dispose();
  return data;
}

/** X with M X = Y, dense and complex, by elimination with pivots. */
function solve(M: readonly (readonly Complex[])[], Y: readonly (readonly Complex[])[]): Complex[][] {
  const rows = M.map((row, n) => [...row, ...Y[n]!]);
  const size = (x: Complex) => Math.hypot(x.re, x.im);
  for (let k = 0; k < rows.length; k++) {
    const pivot = rows
      .map((row, n) => (n < k ? -1 : size(row[k]!)))
      .reduce((best, x, n, all) => (x > all[best]! ? n : best), 0);
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    const own = rows[k]!.map((x) => over(x, rows[k]![k]!));
    rows.forEach((row, n) => {
      rows[n] = n === k ? own : row.map((x, j) => minus(x, times(row[k]!, own[j]!)));
    });
  }
  return rows.map((row) => row.slice(M.length));
}

/** C A_bar^l B_bar of the dense matrices, both halves of the conjugate pairs written out (arXiv 2111.00396 eq. 3 and 5). */
function denseKernel({ A, P, Bm, C, dt }: Numbers, L: number): number[] {
  const both = (x: readonly Complex[]) => [...x, ...x.map(conjugate)];
  const [lambda, p, b, c] = [both(A), both(P), both(Bm), both(C)];
  const dense = lambda.map((x, n) =>
    lambda.map((_, k) => minus(n === k ? x : complex(0), times(p[n]!, conjugate(p[k]!)))),
  );
  const identityPlus = (factor: number) =>
    dense.map((row, n) => row.map((x, k) => plus(complex(n === k ? 1 : 0), scaled(x, factor))));
  const left = identityPlus(-dt / 2);
  const abar = solve(left, identityPlus(dt / 2));
  let h = solve(
    left,
    b.map((x) => [scaled(x, dt)]),
  ).map(([x]) => x!);
  return Array.from({ length: L }, () => {
    const value = c.reduce((sum, x, n) => plus(sum, times(x, h[n]!)), complex(0)).re;
    h = abar.map((row) => row.reduce((sum, x, k) => plus(sum, times(x, h[k]!)), complex(0)));
    return value;
  });
}

/**
 * The kernel by its generating function sum_l K[l] w^l (arXiv 2111.00396 alg. 1): Cauchy products, Woodbury's identity, and
 * an inverse discrete transform. On a circle of radius r < 1, so that the terms from L on, r^L of the whole, are lost in
 * rounding without a C that is made for L.
 */
function generatedKernel({ A, P, Bm, C, dt }: Numbers, L: number): number[] {
  const both = (x: readonly Complex[]) => [...x, ...x.map(conjugate)];
  const [lambda, p, b, c] = [both(A), both(P), both(Bm), both(C)];
  const radius = 1e-8 ** (1 / L);
  const spectrum = Array.from({ length: L }, (_, k) => {
    const w = complex(radius * Math.cos((2 * Math.PI * k) / L), radius * Math.sin((2 * Math.PI * k) / L));
    const onePlus = plus(complex(1), w);
    const z = over(scaled(minus(complex(1), w), 2), onePlus);
    const cauchy = (u: readonly Complex[], v: readonly Complex[]): Complex =>
      u.reduce((sum, x, n) => plus(sum, over(times(x, v[n]!), minus(z, scaled(lambda[n]!, dt)))), complex(0));
    const pStar = p.map(conjugate);
    const [cb, cp, pb, pp] = [cauchy(c, b), cauchy(c, p), cauchy(pStar, b), cauchy(pStar, p)];
    const correction = over(scaled(times(cp, pb), dt), plus(complex(1), scaled(pp, dt)));
    return times(over(complex(2 * dt), onePlus), minus(cb, correction));
  });
  return Array.from({ length: L }, (_, l) => {
    const sum = spectrum.reduce((total, x, k) => {
      const angle = (-2 * Math.PI * ((k * l) % L)) / L;
      return total + x.re * Math.cos(angle) - x.im * Math.sin(angle);
    }, 0);
    return sum / L / radius ** l;
  });
}

describe.each(testDevices())('on $name', ({ create }) => {
  const device = create();
  device.poison = true;
  const exact = device.precision === 'float64';

  it.each([
    [2, 0.1],
    [6, 0.05],
    [16, 0.01],
  ])('the kernel of %i states, dt %d, is that of the dense matrices', async (states, dt) => {
    const numbers = hippoModel(states, dt);
    const kernel = await read(device, () => s4Kernel(modelOn(device, numbers), 50));
    expect(relativeRms(kernel, denseKernel(numbers, 50))).toBeLessThan(exact ? 1e-12 : 1e-6);
  });

  it('the kernel of 64 states is that of the generating function', async () => {
    const numbers = hippoModel(64, 0.01);
    const kernel = await read(device, () => s4Kernel(modelOn(device, numbers), 200));
    expect(relativeRms(kernel, generatedKernel(numbers, 200))).toBeLessThan(exact ? 1e-7 : 1e-6);
  });

  it('scan = convolution with the kernel, forward and backward, also over documents', async () => {
    const [B, T, D] = [2, 90, 3];
    const random = (seed: string, length: number) => new CaseRandom(seed).floats(length).data as Float64Array;
    const results = async (form: 'scan' | 'convolution') => {
      const tensors = scope(device, { record: true }, () => {
        const model = modelOn(device, hippoModel(8, 0.03), D);
        const x = Tensor.from(device, random('x', B * T * D), [B, T, D]);
        const skip = Tensor.from(device, random('skip', D), [D]);
        const reset = Uint8Array.from({ length: B * T }, (_, t) => Number(t === 20 || t === 130));
        const options = { skip, reset: Tensor.from(device, reset, [B, T]) };
        const inputs = [x, skip, ...Object.values(model)] as Tensor[];
        for (const t of inputs) t.requiresGrad = true;
        const y = form === 'scan' ? s4Scan(x, model, options)[0] : longConv(x, s4Kernel(model, T), options);
        backward([[y, Tensor.from(device, random('dy', y.size), y.shape)]]);
        return [y, ...inputs.map((t) => t.gradTensor())].map((t) => t.retain());
      });
      const data = await Promise.all(tensors.map(async (t) => Float64Array.from(await t.data())));
      tensors.forEach((t) => t.dispose());
      return data;
    };
    const [scan, convolution] = [await results('scan'), await results('convolution')];
    scan.forEach((x, k) => expect(relativeRms(x, convolution[k]!), `result ${k}`).toBeLessThan(exact ? 1e-11 : 3e-6));
  });

  it('gradients: scan with skip and resets, from a state, and the kernel', async () => {
    const [B, T, N, D] = [2, 7, 3, 2];
    const flags = Uint8Array.from([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
    const f = (...xs: Tensor[]) => {
      const [x, A, P, Bm, C, logDt, skip, state] = xs as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      const model = { A, P, Bm, C, logDt };
      const reset = Tensor.from(x.device, flags, [B, T]);
      return [s4Scan(x, model, { skip, reset })[0], ...s4Scan(x, model, { state }), s4Kernel(model, 5)];
    };
    const modes = { shape: [2, N, D] };
    const inputs = [
      { shape: [B, T, D] },
      modes,
      modes,
      modes,
      modes,
      { shape: [D] },
      { shape: [D] },
      { shape: [B, 2, N, D] },
    ];
    for (let which = 0; which < inputs.length; which++)
      expect(await gradcheck(device, f as never, inputs, which), `input ${which}`).toBeLessThan(3e-5);
  });
});

const cpu = cpuOrReason();

it.skipIf(typeof cpu === 'string')('the same bits for any number of threads', async () => {
  const run = async (threads: number) => {
    const device = cpuOrReason({ threads }) as Device;
    const x = new CaseRandom('x').floats(5 * 40 * 20).data as Float64Array;
    return read(device, () => {
      const model = modelOn(device, hippoModel(8, 0.03), 20);
      return s4Scan(Tensor.from(device, x, [5, 40, 20]), model)[0];
    });
  };
  const [one, three] = [await run(1), await run(3)];
  cpuOrReason({ threads: 0 });
  expect(three).toEqual(one);
});
