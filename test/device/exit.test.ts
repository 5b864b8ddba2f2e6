/** @file A process that has used the pool of threads ends in order: Node closes the library while workers still spin. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { commandIsBuilt } from '../support/cli.js';
import { cpuProblem } from '../support/devices.js';

const script = `
  import { createCpuDevice } from './dist/device/cpu/cpu.js';
  const device = createCpuDevice({ threads: 4 });
  const buffer = device.alloc('float', 1 << 20);
  for (let k = 0; k < 20; k++) device.kernels.fill(buffer, k, 1 << 20);
`;

it.skipIf(!commandIsBuilt || cpuProblem !== null)(
  '40 processes end without a signal (skipped before npm run build)',
  () => {
    const ends = Array.from({ length: 40 }, () => {
      const { status, signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        cwd: new URL('../..', import.meta.url),
        encoding: 'utf8',
      });
      return signal ?? `${status}${stderr}`;
    });
    expect(new Set(ends)).toEqual(new Set(['0']));
  },
);
