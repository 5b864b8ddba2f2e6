/**
 * @file Kernels of the cpu device at sizes where they cut their work into many pieces: sums over rows in blocks, time
 * in pieces with an overlap. The cases of the self-test are too small for that, so that every device can run them.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Device, HostArray } from '../../src/device/device.js';
import { Activation } from '../../src/device/kernels.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import type { CaseBuffer, KernelCase, Problem } from '../../src/device/selftest/problem.js';
import {
  backwardCase,
  CaseRandom,
  byteValue,
  forwardCase,
  intValue,
  output,
  runCalls,
} from '../../src/device/selftest/problem.js';
import type { SolvedCase } from '../../src/device/selftest/selftest.js';
import { checkCases, describeFailure } from '../../src/device/selftest/selftest.js';
import { cpuOrReason } from '../support/cpu.js';

function conv1d(B: number, T: number, D: number, K: number): Problem {
  const random = new CaseRandom(`conv1d ${B} ${T} ${D} ${K}`);
  const [x, stateIn] = [random.floats(B * T * D), random.floats(B * (K - 1) * D)];
  const [weight, bias] = [random.floats(D * K, 0.5), random.floats(D)];
  const reset = byteValue(Array.from({ length: B * T }, () => (random.uniform() < 0.03 ? 1 : 0)));
  const outputs = { y: output(x.length), stateOut: output(stateIn.length) };
  const values = { ...outputs, x, weight, bias, stateIn, reset, B, T, D, K, activation: Activation.silu };
  return { name: `T=${T} D=${D} K=${K}`, forward: 'conv1dForward', backward: 'conv1dBackward', values };
}

function problems(): Problem[] {
  const random = new CaseRandom('pieces');
  const [N, G, D] = [700, 2, 96];
  const rows = N * G * D;
  const norm = { y: output(rows), rstd: output(N * G), x: random.floats(rows, 1.5, 2), weight: random.floats(G * D) };
  const sizes = { N, G, D, eps: Math.fround(1e-5), weightOffset: 1 };
  const layernorm = { ...norm, mean: output(N * G), bias: random.floats(G * D), ...sizes };
  const [h, c, z] = [random.floats(rows), random.floats(rows), random.floats(rows)];
  const skipGate = { y: output(rows), h, c, z, skip: random.floats(D), N: N * G, D };
  const tokens = intValue(Array.from({ length: N }, () => random.below(13)));
  const embedding = { y: output(N * D), tokens, table: random.floats(13 * D), N, D, V: 13 };
  const sum = { y: output(1), x: random.floats(rows, 1, 0.5), N: rows };
  return [
    { name: 'blocks', forward: 'layernormForward', backward: 'layernormBackward', values: layernorm },
    { name: 'blocks', forward: 'rmsnormForward', backward: 'rmsnormBackward', values: { ...norm, ...sizes } },
    { name: 'blocks', forward: 'skipGateForward', backward: 'skipGateBackward', values: skipGate },
    { name: 'columns', forward: 'embeddingForward', backward: 'embeddingBackward', values: embedding },
    { name: 'blocks', forward: 'biasBackward', values: { dbias: random.floats(D), dy: h, N: N * G, D } },
    { name: 'pieces', forward: 'sumForward', backward: 'sumBackward', values: { ...sum, scale: 0.5 } },
    { name: 'pieces', forward: 'sumOfSquares', values: sum },
    conv1d(3, 300, 130, 4),
    conv1d(2, 129, 259, 3),
    // More than the 64 blocks that partial sums are kept of.
    conv1d(40, 70, 300, 4),
  ];
}

const reason = cpuOrReason();

describe.skipIf(typeof reason === 'string')(
  `the cpu device in pieces (${typeof reason === 'string' ? reason : 'built'})`,
  () => {
    let cases: SolvedCase[];
    beforeAll(async () => {
      const reference = createReferenceDevice();
      const isWritten = ({ role }: CaseBuffer): boolean => role !== 'input' && role !== 'saved';
      const solve = async (testCase: KernelCase): Promise<SolvedCase> => ({
        ...testCase,
        expected: new Map([...(await runCalls(reference, testCase.calls))].filter(([buffer]) => isWritten(buffer))),
      });
      cases = [];
      for (const problem of problems()) {
        cases.push(await solve(forwardCase(problem)));
        if (problem.backward) cases.push(await solve(await backwardCase(problem, reference)));
      }
    });
    afterAll(() => cpuOrReason({ threads: 0 }));

    test('agrees with the reference', async () => {
      const device = cpuOrReason({ threads: 2 }) as Device;
      const results = await checkCases(device, cases);
      expect(results.length).toBeGreaterThan(15);
      expect(results.filter(({ ok }) => !ok).map(describeFailure)).toEqual([]);
    });

    test('gives the same bits with any number of threads', async () => {
      const runs: HostArray[][] = [];
      for (const threads of [1, 2, 3, 5]) {
        const device = cpuOrReason({ threads }) as Device;
        const written: HostArray[] = [];
        for (const { calls } of cases) for (const data of (await runCalls(device, calls)).values()) written.push(data);
        runs.push(written);
      }
      for (const run of runs.slice(1)) {
        for (const [index, data] of run.entries()) {
          const same = Buffer.from(data.buffer).equals(Buffer.from(runs[0]![index]!.buffer));
          expect(same, `buffer ${index} of ${data.length}`).toBe(true);
        }
      }
    });
  },
);
