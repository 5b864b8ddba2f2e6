/** @file The progress of long work: one repainted line on a terminal, seldom a line elsewhere, nothing for short work. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WorkProgress } from '../../src/cli/work-progress.js';

beforeEach(() => vi.stubEnv('TERM', 'xterm')); // a dumb terminal is none
afterEach(() => vi.unstubAllEnvs());

function shown(isTTY: boolean, columns: number, steps: number, milliseconds: number): string {
  let text = '';
  let now = 0;
  const stream = { isTTY, columns, write: (some: string) => (text += some) };
  using progress = new WorkProgress('reading book.txt', stream, () => now);
  for (let k = 1; k <= steps; k++) {
    now += milliseconds;
    progress.update(k / steps, 1000 * k);
  }
  progress[Symbol.dispose]();
  return text;
}

it('elsewhere than on a terminal: a line every ten seconds', () => {
  expect(shown(false, 80, 9, 1000)).toBe('');
  const lines = shown(false, 80, 40, 1000).trim().split('\n');
  expect(lines.length).toBe(4);
  expect(lines[0]).toBe('reading book.txt: 25 %, 10.0k tokens, 1.0k tokens/s, 30s left');
});

it('on a terminal: a line that fits, ten times a second, gone at the end', () => {
  for (const columns of [80, 30, 0]) {
    const parts = shown(true, columns, 100, 10).split('\r').slice(1);
    expect(parts.length).toBe(11);
    expect(parts.at(-1)).toBe('\x1b[K');
    for (const part of parts) expect(part.replace('\x1b[K', '').length).toBeLessThan(columns || 80);
    expect(parts[0]).toMatch(/^reading book\.txt: 1 %, 1\.0k/);
  }
});
