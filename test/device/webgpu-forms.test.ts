/**
 * @file What the WebGPU device writes otherwise for other adapters than the one at hand: for a GPU in hardware or in software,
 * with and without subgroups, in Node through Dawn against the reference. Without an adapter it is skipped by name.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { Activation, type DeviceBuffer, type KernelName } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { KernelCase } from '../../src/device/selftest/problem.js';
import {
  checkCases,
  compare,
  describeFailure,
  solveCases,
  type SolvedCase,
} from '../../src/device/selftest/selftest.js';
import { FEW, SINGLES, tileFor } from '../../src/device/webgpu/kernels/matmul-tiles.js';
import { wgslOf } from '../../src/device/webgpu/program.js';
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu.js';
import { normal, randomKey } from '../../src/tensor/random.js';
import { webGpuForTests, webGpuOrReason } from '../support/webgpu.js';

const opened = await webGpuOrReason();
const reason = typeof opened === 'string' ? ` (skipped: ${opened})` : '';
if (typeof opened !== 'string') opened.destroy();

/** Kernels that add up over the invocations of a workgroup, which subgroups do otherwise. */
const SUMS: readonly KernelName[] = [
  ...(['sumForward', 'sumOfSquares', 'layernormForward', 'rmsnormBackward', 'linearCrossEntropyForward'] as const),
  ...(['headwiseLinearBackward', 'mlstmStep', 'linearPacked', 'matmul'] as const),
];
/** Those, and what is written for some adapters otherwise than for others. */
const KERNELS_WITH_FORMS: readonly KernelName[] = [
  ...(['slstmForward', 'slstmBackward', 'lstmForward', 'lstmBackward', 'headwiseLinearForward'] as const),
  ...SUMS,
];

/** Products in tiles add nothing up over a workgroup: without subgroups their text is the same, as a test below shows. */
function isInTiles({ kernel, calls }: KernelCase): boolean {
  if (kernel !== 'matmul') return false;
  const [M, , , , transB] = calls.at(-1)!.args.slice(4);
  return !(transB === true && Number(M) > 0 && Number(M) <= FEW);
}

const everyCase = (): boolean => true;

describe.skipIf(reason !== '')(`the forms of the webgpu device${reason}`, () => {
  let cases: SolvedCase[];
  beforeAll(async () => {
    cases = await solveCases(createReferenceDevice(), KERNELS_WITH_FORMS);
  });

  // On a GPU in software the kernels without barriers are taken; these are the others.
  test.each([
    ['in hardware', { isSoftware: false }, KERNELS_WITH_FORMS, everyCase],
    ['in hardware without subgroups', { isSoftware: false, hasSubgroups: false }, SUMS, (one) => !isInTiles(one)],
    [
      'in software without subgroups',
      { isSoftware: true, hasSubgroups: false },
      KERNELS_WITH_FORMS,
      (one) => !isInTiles(one),
    ],
  ] as [string, object, readonly KernelName[], (one: KernelCase) => boolean][])(
    'agree with the reference in the kernels of a GPU %s',
    async (_name, options, kernels, isChosen) => {
      const other = await webGpuForTests(options);
      const chosen = cases.filter((one) => kernels.includes(one.kernel) && isChosen(one));
      const results = await checkCases(other, chosen);
      expect(results.filter(({ ok }) => !ok).map(describeFailure)).toEqual([]);
      expect(new Set(results.map(({ kernel }) => kernel)).size).toBe(kernels.length);
      other.destroy();
    },
    400_000,
  );

  test('of products in tiles are one text, with and without subgroups, in hardware and in software', () => {
    const constants = { WHOLE: false, TRANS_A: false, TRANS_B: true, ACCUMULATE: false, ACTIVATION: 0 };
    for (const [M, N] of [
      [64, 64],
      [4096, 4096],
    ] as const) {
      const texts = [true, false].flatMap((isSoftware) =>
        [true, false].map((hasSubgroups) =>
          wgslOf(tileFor(SINGLES, M, N, 1).form, [0, 1, 2, -1], constants, { isSoftware, hasSubgroups }),
        ),
      );
      expect(new Set(texts).size).toBe(1);
    }
  });

  // Sizes that the self-test has none of: tiles with nothing left over, and so many that they are large.
  describe('in hardware', () => {
    let hardware: WebGpuDevice;
    beforeAll(async () => {
      hardware = await webGpuForTests({ isSoftware: false });
      return () => hardware.destroy();
    });

    test.each([
      [128, 64, 32],
      [1792, 1792, 16],
      [1793, 1797, 17],
    ])(
      'multiply %d x %d x %d',
      async (M, N, K) => {
        const a = Float32Array.from(normal(randomKey(1), M * K));
        const b = Float32Array.from(normal(randomKey(2), K * N));
        for (const [transA, transB] of [
          [false, false],
          [true, false],
          [false, true],
        ] as const) {
          const results = [];
          for (const device of [hardware, createReferenceDevice()]) {
            const [c, x, y] = [M * N, M * K, K * N].map((length) => device.alloc('float', length)) as [
              DeviceBuffer,
              ...DeviceBuffer[],
            ];
            device.write(x!, a);
            device.write(y!, b);
            const [lda, ldb] = [transA ? M : K, transB ? K : N];
            device.kernels.matmul(c, x!, y!, null, M, N, K, transA, transB, lda, ldb, N, false, Activation.none);
            results.push(await device.read(c));
          }
          expect(compare('c', results[0]!, results[1]!).relativeRms).toBeLessThan(1e-6);
        }
      },
      120_000,
    );
  });
});
