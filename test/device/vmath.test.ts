/**
 * @file The vector functions of native/cpu/vmath.h keep the errors that their comments state, on every instruction set
 * of this machine: native/test/vmath_error.cpp is compiled as kernels are and run over a sample of all floats.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { usableIsas } from '../support/isas.js';

const native = join(import.meta.dirname, '../../native');
interface Targets {
  COMMON_FLAGS: string[];
  KERNEL_FLAGS: string[];
  isasFor: (arch: string) => { name: string; flags: string[] }[];
}
const { COMMON_FLAGS, KERNEL_FLAGS, isasFor } = (await import(join(native, 'tools/targets.mjs'))) as Targets;

const compiler = [process.env['CXX'] ?? 'g++', 'clang++', 'c++'].find(
  (command) => spawnSync(command, ['--version']).status === 0,
);
const isas = compiler === undefined ? [] : usableIsas();

describe.skipIf(isas.length === 0)('vector functions (with a compiler and the library)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'xlstm-vmath-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(isas)('err by no more than is stated: %s', (isa) => {
    const program = join(folder, isa);
    const flags = isasFor(process.arch).find(({ name }) => name === isa)!.flags;
    const include = ['common', 'cpu'].flatMap((name) => ['-I', join(native, name)]);
    const source = join(native, 'test/vmath_error.cpp');
    const all = [...COMMON_FLAGS, ...KERNEL_FLAGS, ...flags, ...include, '-DXL_NS=xl_test', source, '-o', program];
    const compiled = spawnSync(compiler!, all, { encoding: 'utf8' });
    expect(compiled.stderr).toBe('');
    const { stdout, status } = spawnSync(program, ['1009'], { encoding: 'utf8' });
    const lines = stdout.trim().split('\n');
    expect(lines.filter((line) => !line.endsWith(': ok'))).toEqual([]);
    expect(lines).toHaveLength(9);
    expect(status).toBe(0);
  });
});
