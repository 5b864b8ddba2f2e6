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
  const found = [];
  for (const object of objects) {
    const { status, stdout } = spawnSync('nm', ['-C', '--defined-only', object], { encoding: 'utf8' });
    if (status !== 0) return [];
    for (const line of stdout.split('\n')) {
      const match = /^\w* ([WVu]) (.*)$/.exec(line);
      if (match) found.push(`${object}: ${match[2]}`);
    }
  }
  return found;
}
