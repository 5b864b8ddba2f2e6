/**
 * @file Checks that objects compiled for one instruction set define nothing that a linker could use for another.
 */
import { spawnSync } from 'node:child_process';

/**
 * Weak and unique definitions (inline functions, template instances): the linker keeps one body of each name, which
 * could be the AVX-512 one, and baseline code would run it. Without `nm` on the machine nothing is checked.
 * @param {string[]} objects compiled for an instruction set
 * @returns {string[]} "object: symbol" for each such definition
 */
export function foreignSymbols(objects) {
  const { status, stdout } = spawnSync('nm', ['-A', '-C', '--defined-only', ...objects], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) return [];
  return stdout.split('\n').flatMap((line) => {
    const match = /^(.*?): ?[0-9a-f]* ([WVu]) (.*)$/.exec(line);
    return match ? [`${match[1]}: ${match[3]}`] : [];
  });
}
