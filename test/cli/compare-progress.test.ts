/** @file What a comparison shows while it goes: lines in a log, repainted lines on a terminal. */
import { describe, expect, it } from 'vitest';
import { CompareProgress } from '../../src/cli/compare-progress.js';
import { failedResult, type RunResult, type RunSpec } from '../../src/experiments/run-spec.js';
import { fakeResult } from '../support/fake-training.js';
import { exampleSpec } from '../support/run-specs.js';

const progress = { step: 5, steps: 10, loss: 0.5, tokensPerSecond: 12_345 };

function watch(isTTY: boolean, columns = 80) {
  let now = 0;
  let text = '';
  const stream = { isTTY, columns, write: (some: string) => (text += some) };
  const shown = new CompareProgress({ total: 2, stream, now: () => now, env: {} });
  const specs = [0, 1].map((seed) => exampleSpec({ name: `run-${seed}`, seed })) as [RunSpec, RunSpec];
  return {
    shown,
    specs,
    pass: (milliseconds: number) => (now += milliseconds),
    end: (spec: RunSpec, result: RunResult = fakeResult(spec)) => shown.update({ kind: 'end', spec, result }),
    taken: () => {
      const before = text;
      text = '';
      return before;
    },
  };
}

describe('the progress of a comparison', () => {
  it('in a log is a line per run that ends, and one a minute in between', () => {
    const { shown, specs, pass, end, taken } = watch(false);
    shown.update({ kind: 'start', spec: specs[0] });
    pass(1000);
    shown.update({ kind: 'progress', spec: specs[0], progress });
    expect(taken()).toBe('');
    pass(60_000);
    shown.update({ kind: 'progress', spec: specs[0], progress });
    expect(taken()).toBe(
      '      parity, xLSTM[1:1] D64x2, learning rate 0.001, seed 0: step 5/10, loss 0.5000, 12.3k tok/s, 1m 01s left\n',
    );
    end(specs[0]);
    expect(taken()).toBe(
      '[1/2] parity, xLSTM[1:1] D64x2, learning rate 0.001, seed 0: ' +
        'test perplexity inf, validation accuracy 1.000, 0.5s, 1m 01s left\n',
    );
    end(specs[1], failedResult('the loss was not finite'));
    expect(taken()).toBe(
      '[2/2] parity, xLSTM[1:1] D64x2, learning rate 0.001, seed 1: failed: the loss was not finite\n',
    );
    shown[Symbol.dispose]();
    expect(taken()).toBe('');
  });

  it('on a terminal repaints the runs in progress below the finished ones, and no line is too long', () => {
    const { shown, specs, pass, end, taken } = watch(true, 50);
    shown.update({ kind: 'start', spec: specs[0] });
    expect(taken()).toBe('  parity, xLSTM[1:1] D64x2, learning rate 0.001, \n[0/2] runs, 0.0s');
    pass(100);
    shown.update({ kind: 'start', spec: specs[1] });
    expect(taken()).toBe('');
    pass(100);
    shown.update({ kind: 'progress', spec: specs[1], progress });
    const repainted = taken();
    expect(repainted.startsWith('\r\x1b[1A\x1b[J')).toBe(true);
    expect(repainted).toMatch(/J(.{49}\n){2}\[0\/2\] runs, 0\.2s$/);
    end(specs[0], failedResult('broken\x1b[31m'));
    const text = taken();
    expect(text.startsWith('\r\x1b[2A\x1b[J[1/2] ')).toBe(true);
    expect(text).toMatch(/: failed: broken␛\[31m, 0\.2s left\n/);
    expect(text).toMatch(/\n\[1\/2\] runs, 1 failed, 0\.2s$/);
    shown[Symbol.dispose]();
    expect(taken()).toBe('\r\x1b[1A\x1b[J');
  });
});
