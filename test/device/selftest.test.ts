/**
 * @file The self-test: that its table fits the contract, that it sees what it must see, and what it says of the cpu
 * device where the native library is built.
 */
import { createHash } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Device } from '../../src/device/device.js';
import type { DeviceBuffer, KernelName } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { runCalls } from '../../src/device/selftest/problem.js';
import type { SolvedCase } from '../../src/device/selftest/selftest.js';
import { checkCases, compare, describeFailure, selftest, solveCases } from '../../src/device/selftest/selftest.js';
import { signatures } from '../../src/device/selftest/signatures.js';
import { cpuOrReason } from '../support/cpu.js';
import { usableIsas } from '../support/isas.js';
import { mlstmGolden, mlstmGoldenGaps, recurrentGoldenGaps } from '../support/golden-cells.js';

const names = Object.keys(signatures) as KernelName[];

type AnyKernel = (...args: unknown[]) => void;

/** A reference device with one kernel replaced. */
function mutant(kernel: KernelName, replace: (original: AnyKernel, device: Device) => AnyKernel): Device {
  const device = createReferenceDevice();
  const changed = replace(device.kernels[kernel] as AnyKernel, device);
  return { ...device, kernels: { ...device.kernels, [kernel]: changed } };
}

let cases: SolvedCase[];
beforeAll(async () => {
  cases = await solveCases(createReferenceDevice());
});

const failures = async (device: Device, kernel?: KernelName): Promise<string[]> => {
  const own = cases.filter((testCase) => kernel === undefined || testCase.kernel === kernel);
  return (await checkCases(device, own)).filter(({ ok }) => !ok).map(describeFailure);
};

describe('the list of cases', () => {
  test('names every argument of every kernel', () => {
    const { kernels } = createReferenceDevice();
    expect(names.toSorted()).toEqual(Object.keys(kernels).toSorted());
    for (const name of names) {
      const { buffers, options } = signatures[name];
      expect(buffers.length + options.length, name).toBe(kernels[name].length);
    }
  });

  test('has several cases of every kernel, under names of their own', () => {
    for (const name of names) expect(cases.filter(({ kernel }) => kernel === name).length, name).toBeGreaterThan(2);
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  test('gives every device the same numbers: all floats are float32', () => {
    for (const { name, calls } of cases) {
      for (const argument of calls.flatMap(({ args }) => args)) {
        if (typeof argument !== 'object' || argument?.dtype !== 'float') continue;
        const wide = argument.data?.find((x) => !Object.is(Math.fround(x), x)) ?? 0;
        expect(wide, `${argument.name} of ${name}`).toBe(0);
      }
    }
  });

  test('leaves no NaN on the reference, except between the rows of a matrix', () => {
    for (const { name, expected } of cases) {
      for (const [buffer, data] of expected) {
        const hasGaps = name.startsWith('matmul') && buffer.name === 'c' && name.endsWith('gaps');
        if (!hasGaps) expect(data.some(Number.isNaN), `${buffer.name} of ${name}`).toBe(false);
      }
    }
  });
});

describe('the self-test sees', () => {
  test('only the kernels that it is asked for', async () => {
    const reference = createReferenceDevice();
    const results = await selftest(reference, reference, { kernels: ['rmsnormBackward', 'fill'] });
    expect([...new Set(results.map(({ kernel }) => kernel))].toSorted()).toEqual(['fill', 'rmsnormBackward']);
    expect(results.every(({ ok, outputs }) => ok && outputs.length > 0)).toBe(true);
  });

  test('nothing wrong with the reference', async () => {
    expect(await failures(createReferenceDevice())).toEqual([]);
  });

  test('a gradient that is added twice, or overwritten', async () => {
    const twice = mutant('layernormBackward', (original) => (...args) => {
      original(...args);
      original(...args);
    });
    expect(await failures(twice, 'layernormBackward')).toHaveLength(12);
    const overwritten = mutant('layernormBackward', (original, { kernels }) => (...args) => {
      const dx = args[0] as DeviceBuffer;
      kernels.fill(dx, 0, dx.length);
      original(...args);
    });
    expect(await failures(overwritten, 'layernormBackward')).toHaveLength(12);
  });

  test('an element that is skipped', async () => {
    const skips = mutant(
      'add',
      (original) =>
        (...args) =>
          original(...args.slice(0, 3), Math.max(0, Number(args[3]) - 1)),
    );
    expect((await failures(skips, 'add'))[0]).toMatch(/add N=1: .* y Infinity \(at 0: NaN/);
  });

  test('an element written outside', async () => {
    const reaches = mutant('copy', (original, device) => (...args) => {
      original(...args);
      const y = args[0] as DeviceBuffer & { data: Float64Array };
      new Float64Array(y.data.buffer).fill(0, 0, y.data.byteOffset / 8);
      void device;
    });
    expect((await failures(reaches, 'copy'))[0]).toContain("wrote outside of 'y'");
  });

  test('a kernel that throws, by its words', async () => {
    const throws = mutant('copy', () => () => {
      throw new Error('not today');
    });
    expect((await failures(throws, 'copy'))[1]).toBe('copy N=1: not today');
  });

  test('documents that leak into the next one', async () => {
    const resetAt = signatures.slstmForward.buffers.findIndex(([name]) => name === 'reset');
    const leaks = mutant(
      'slstmForward',
      (original) =>
        (...args) =>
          original(...args.with(resetAt, null)),
    );
    expect((await failures(leaks, 'slstmForward')).length).toBeGreaterThan(3);
  });

  test('a stabiliser without its gradient', async () => {
    const signature = signatures.mlstmBackward;
    const dmoutAt = signature.buffers.findIndex(([name]) => name === 'dmout');
    const constant = mutant(
      'mlstmBackward',
      (original) =>
        (...args) =>
          original(...args.with(dmoutAt, null)),
    );
    expect((await failures(constant, 'mlstmBackward')).length).toBeGreaterThan(3);
  });
});

test('compare: infinities must agree, untouched memory must stay untouched', () => {
  const rms = (got: number[], expected: number[]) =>
    compare('x', Float64Array.from(got), Float64Array.from(expected)).relativeRms;
  expect(rms([1, 2], [1, 2])).toBe(0);
  expect(rms([3, 4.5], [3, 4])).toBeCloseTo(0.1, 12);
  expect([rms([Infinity], [Infinity]), rms([NaN], [NaN])]).toEqual([0, 0]);
  expect([rms([Infinity], [1]), rms([NaN], [1]), rms([1], [NaN]), rms([-Infinity], [Infinity])]).toEqual([
    Infinity,
    Infinity,
    Infinity,
    Infinity,
  ]);
  // A reference of zeros has no scale; what a float32 device flushes to zero is no error, what it does not is one.
  expect([rms([0], [0]), rms([1e-38], [0]) < 1e-7, rms([1e-6], [0]) > 1]).toEqual([0, true, true]);
});

const cpu = cpuOrReason();
const reason = typeof cpu === 'string' ? ` (skipped: ${cpu})` : '';

describe.skipIf(reason !== '')(`the cpu device${reason}`, () => {
  const device = cpu as Device;
  beforeEach(() => {
    cpuOrReason({ isa: 'auto', threads: 0 });
  });

  test.each(['auto', ...usableIsas()])('agrees with the reference: %s', async (isa) => {
    expect(await failures(cpuOrReason({ isa }) as Device)).toEqual([]);
  });

  test('gives the same bits whatever the number of threads', async () => {
    const bitsWith = async (threads: number): Promise<string[]> => {
      const own = cpuOrReason({ threads }) as Device;
      const digests: string[] = [];
      for (const { name, calls } of cases) {
        const hash = createHash('sha256');
        for (const data of (await runCalls(own, calls)).values()) hash.update(data);
        digests.push(`${name} ${hash.digest('hex')}`);
      }
      return digests;
    };
    const alone = await bitsWith(1);
    for (const threads of [2, 5]) expect(await bitsWith(threads)).toEqual(alone);
  });

  // float32 against numbers recorded in float64: the project's promise is 1e-5.
  test.each(mlstmGolden)('matches $file', async (golden) => {
    device.poison = true;
    for (const L of [1, 16, 64]) {
      for (const { tensor, gap } of await mlstmGoldenGaps(device, golden, L)) {
        expect(gap, `${tensor} with L = ${L}`).toBeLessThan(1e-5);
      }
    }
  });

  test.each(['slstm', 'lstm'] as const)('matches %s_cell', async (cell) => {
    for (const { tensor, gap } of await recurrentGoldenGaps(device, cell)) expect(gap, tensor).toBeLessThan(1e-5);
  });
});
