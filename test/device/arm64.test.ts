/** @file The kernels on arm64: the same sources cross-compiled, every self-test case replayed under qemu. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0;
const ready = has('aarch64-linux-gnu-g++') && has('qemu-aarch64');

it.skipIf(!ready)(
  'every kernel case passes (skipped without aarch64-linux-gnu-g++ and qemu-aarch64)',
  () => {
    const script = fileURLToPath(new URL('../../native/test/arm64.mjs', import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect(stdout + stderr).toMatch(/arm64: \d{3,} kernel cases passed, 0 failed/);
    expect(status).toBe(0);
  },
  400_000,
);
