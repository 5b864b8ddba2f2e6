/**
 * @file The replay program, which tests libraries for processors without Node (`npm run test:arm64`): here for this
 * very processor, to see that it passes what is right and finds what is wrong.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadLibrary } from '../../src/device/cpu/library.js';
import { createReferenceDevice } from '../../src/device/reference/reference.js';
import { recordCases } from '../../src/device/selftest/record.js';
import type { SolvedCase } from '../../src/device/selftest/selftest.js';
import { solveCases } from '../../src/device/selftest/selftest.js';
import { cpuOrReason } from '../support/cpu.js';

const { buildReplay } = (await import(join(import.meta.dirname, '../../native/test/replay.mjs'))) as {
  buildReplay: (library: string, compiler: string) => string;
};
const hasCompiler = spawnSync('c++', ['--version']).status === 0;
const runs = process.platform === 'linux' && hasCompiler && typeof cpuOrReason() !== 'string';

describe.runIf(runs)('the replay program (Linux, with a compiler and the library)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'xlstm-replay-'));
  let program: string;
  let cases: SolvedCase[];
  beforeAll(async () => {
    program = buildReplay(dirname(loadLibrary().path), 'c++');
    cases = await solveCases(createReferenceDevice(), [
      'add',
      'layernormBackward',
      'conv1dForward',
      'embeddingForward',
    ]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const replay = (record: Uint8Array): { status: number | null; lines: string[]; errors: string } => {
    const path = join(folder, 'cases.bin');
    writeFileSync(path, record);
    const { status, stdout, stderr } = spawnSync(program, [path], { encoding: 'utf8' });
    return { status, lines: stdout.trim().split('\n'), errors: stderr };
  };

  test('passes all cases of kernels that are right', () => {
    const { status, lines } = replay(recordCases(cases));
    expect(lines).toEqual([expect.stringMatching(new RegExp(`: ${cases.length} kernel cases passed, 0 failed$`))]);
    expect(status).toBe(0);
  });

  test('names a case whose result is another', () => {
    const index = cases.findIndex(({ name }) => name.startsWith('layernormBackward'));
    const { expected, ...wrong } = cases[index]!;
    const [[buffer, data] = expect.fail('nothing is compared')] = expected;
    const changed = new Map(expected).set(
      buffer,
      Float64Array.from(data, (x, i) => (i === 3 ? x * 1.01 : x)),
    );
    const { status, lines } = replay(recordCases(cases.with(index, { ...wrong, expected: changed })));
    expect(lines[0]).toContain(`FAILED ${wrong.name}:  ${buffer.name} is off by`);
    expect([lines.length, status]).toEqual([2, 1]);
  });

  test('passes on what the library complains about', () => {
    const testCase = cases.find(({ kernel }) => kernel === 'embeddingForward');
    const { calls, ...rest } = testCase!;
    const args = calls[0]!.args.with(5, 1); // V = 1, and other tokens than 0
    const { lines } = replay(recordCases([{ ...rest, calls: [{ ...calls[0]!, args }] }]));
    expect(lines[0]).toMatch(/^FAILED embeddingForward .*: embedding_forward: token \d+ at position \d+ lies outside/);
  });

  test('refuses what is no record', () => {
    const record = recordCases(cases);
    expect(replay(record.subarray(0, record.length - 5))).toMatchObject({
      status: 2,
      errors: expect.stringContaining('ends too early'),
    });
    expect(replay(new Uint8Array(100))).toMatchObject({ status: 2, errors: expect.stringContaining('not a record') });
  });
});
