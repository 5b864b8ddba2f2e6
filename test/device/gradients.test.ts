/** @file Every backward kernel of the reference against finite differences of its forward kernel. */
import { describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import { Activation } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { kernelProblems } from '../../src/device/selftest/cases.js';
import { CaseRandom } from '../../src/device/selftest/problem.js';
import { gradientGaps } from '../support/kernel-gradients.js';

// The five-point formula errs by (step * curvature)^4, far below; rounding is taken off by `gradientGaps`.
const TOLERANCE = 1e-8;

const problems = kernelProblems().filter(({ backward, smooth }) => backward !== undefined && smooth !== false);
const backwards = [...new Set(problems.map(({ backward }) => backward!))];

/** The reference with every backward kernel run twice: each gradient is doubled. */
function doubled(): Device {
  const device = createReferenceDevice();
  const kernels = Object.fromEntries(
    Object.entries(device.kernels).map(([name, kernel]) => {
      const run = kernel as (...args: unknown[]) => void;
      const twice = (...args: unknown[]): void => {
        run(...args);
        run(...args);
      };
      return [name, name.endsWith('Backward') ? twice : run];
    }),
  );
  return { ...device, kernels: kernels as unknown as Device['kernels'] };
}

describe.each(backwards)('%s', (backward) => {
  const own = problems.filter((problem) => problem.backward === backward);

  test('agrees with finite differences', async () => {
    for (const problem of own) {
      for (const { gradient, gap } of await gradientGaps(createReferenceDevice(), problem)) {
        expect(gap, `${gradient} of ${backward} ${problem.name}`).toBeLessThan(TOLERANCE);
      }
    }
  });

  test('the check sees a doubled gradient', async () => {
    const problem = own.find(({ name }) => !/ignored|N=0|without/.test(name))!;
    for (const { gradient, gap } of await gradientGaps(doubled(), problem)) {
      expect(gap, `${gradient} of ${backward} ${problem.name}`).toBeGreaterThan(1e3 * TOLERANCE);
    }
  });
});

test('biasBackward is the gradient of the bias of matmul', async () => {
  const [N, D] = [37, 33];
  const device = createReferenceDevice();
  const random = new CaseRandom('bias');
  const [u, v] = [random.floats(N * D).data!, random.floats(D).data!];
  const fresh = (data: ArrayLike<number>) => {
    const buffer = device.alloc('float', data.length);
    device.write(buffer, Float64Array.from(data));
    return buffer;
  };
  // Linear in the bias, so J v is the product with v in its place, and no difference is needed.
  const [empty, Jv, dbias] = [fresh([]), fresh(new Float64Array(N * D)), fresh(new Float64Array(D))];
  device.kernels.matmul(Jv, empty, empty, fresh(v), N, D, 0, false, false, 0, D, D, false, Activation.none);
  device.kernels.biasBackward(dbias, fresh(u), N, D);
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, e) => sum + x * b[e]!, 0);
  expect(dot(await device.read(dbias), v)).toBeCloseTo(dot(u, await device.read(Jv)), 10);
});
