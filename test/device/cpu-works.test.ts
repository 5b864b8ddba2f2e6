/** @file The CPU device must work wherever there is a compiler, or the other tests would silently leave it out. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { cpuProblem } from '../support/devices.js';

const compiler = ['g++', 'clang++', 'c++'].find((name) => spawnSync(name, ['--version']).status === 0);

it.skipIf(compiler === undefined)('the cpu device loads (skipped where there is no C++ compiler)', () => {
  expect(cpuProblem).toBe(null);
});
