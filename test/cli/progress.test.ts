import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatProgressBlock,
  formatProgressLine,
  Progress,
  visibleLength,
  type ProgressEvent,
} from '../../src/cli/progress.js';

const event: ProgressEvent = {
  step: 120,
  totalSteps: 2000,
  loss: 2.34567,
  emaLoss: 2.4,
  bitsPerByte: 1.987,
  learningRate: 1e-3,
  gradientNorm: 0.8765,
  tokensPerSecond: 12_345,
  elapsedSeconds: 61,
  remainingSeconds: 956,
};

/** A terminal that knows what Progress writes; it reflows wrapped lines on a resize, as terminals do today. */
class Terminal {
  readonly isTTY = true;
  columns: number;
  writes = 0;
  /** What was written, without wrapping; a wrapped line is one entry here. */
  private lines: string[] = [''];
  private line = 0;
  private column = 0;
  private listener: (() => void) | null = null;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(text: string): void {
    this.writes++;
    // eslint-disable-next-line no-control-regex
    for (const [, escape, char] of text.matchAll(/\x1b\[([0-9;]*[A-Za-z])|([^])/gu)) {
      if (escape !== undefined) this.escape(escape);
      else if (char === '\n') this.newline();
      else if (char === '\r')
        this.column = this.rowStart(this.column - 1); // behind a full row it still stands in it
      else this.put(char!);
    }
  }

  private put(char: string): void {
    const line = this.lines[this.line]!.padEnd(this.column);
    this.lines[this.line] = line.slice(0, this.column) + char + line.slice(this.column + 1);
    this.column++;
  }

  private newline(): void {
    this.line++;
    this.lines[this.line] ??= '';
    this.column = 0;
  }

  private escape(code: string): void {
    if (code.endsWith('m')) return;
    if (code === 'J') {
      this.lines.length = this.line + 1;
      this.lines[this.line] = this.lines[this.line]!.slice(0, this.column);
    } else if (code.endsWith('A')) {
      for (let up = Number(code.slice(0, -1)); up > 0; up--) {
        if (this.column >= this.columns) this.column -= this.columns;
        else if (this.line > 0) {
          this.line--;
          this.column = this.rowStart(this.lines[this.line]!.length - 1);
        }
      }
    } else {
      throw new Error(`the terminal does not know ESC[${code}`);
    }
  }

  /** Where the row begins that shows character `index` of a line. */
  private rowStart(index: number): number {
    return Math.max(0, Math.floor(index / this.columns) * this.columns);
  }

  on(_: 'resize', listener: () => void): void {
    this.listener = listener;
  }

  off(): void {
    this.listener = null;
  }

  resize(columns: number): void {
    this.columns = columns;
    this.listener?.();
  }

  screen(): string[] {
    return this.lines.map((line) => line.trimEnd());
  }
}

describe('formatting', () => {
  it('writes a plain line with everything', () => {
    expect(formatProgressLine(event)).toBe(
      'step 120/2000 (6%)  loss 2.346  ema 2.400  bits/byte 1.987  tok/s 12.3k  lr 0.00100  grad 0.876  1m 01s, 15m 56s left',
    );
    const early = { ...event, bitsPerByte: NaN, remainingSeconds: NaN, loss: Infinity, step: 0 };
    expect(formatProgressLine(early)).toContain('(0%)  loss inf  ema 2.400  tok/s');
    expect(formatProgressLine(early)).toContain('1m 01s, ? left');
    expect(formatProgressLine({ ...event, totalSteps: 0 })).toMatch(/^step 120\/0 \(0%\) .*  1m 01s$/);
  });

  it('writes two lines for a terminal', () => {
    expect(formatProgressBlock({ ...event, step: 1000 }, { columns: 80, color: false, unicode: true })).toEqual([
      '━━━━━━━━━━━━━━━━━━━━━───────────────────── 1000/2000  50%  1m 01s, 15m 56s left',
      'loss 2.346  ema 2.400  bits/byte 1.987  tok/s 12.3k  lr 0.00100  grad 0.876',
    ]);
    const [bar] = formatProgressBlock({ ...event, step: 1000 }, { columns: 80, color: false, unicode: false });
    expect(bar).toMatch(/^#{21}-{21} 1000/);
  });

  it('drops what does not fit, least wanted first', () => {
    const block = (columns: number) => formatProgressBlock(event, { columns, color: false, unicode: false });
    expect(block(45)).toEqual([
      '-------  120/2000   6%  1m 01s, 15m 56s left',
      'loss 2.346  ema 2.400  bits/byte 1.987',
    ]);
    expect(block(22)).toEqual(['------  120/2000   6%', 'loss 2.346  ema 2.400']);
    expect(block(21)).toEqual([' 120/2000   6%', 'loss 2.346']);
    expect(block(6)).toEqual([' 120/', '']);
  });

  it('fits any width, coloured or not, for any numbers', () => {
    const number = fc.oneof(fc.double(), fc.constantFrom(NaN, Infinity, -Infinity, 0));
    // prettier-ignore
    const events = fc.record({
      step: fc.nat(), totalSteps: fc.nat(), loss: number, emaLoss: number, bitsPerByte: number, learningRate: number,
      gradientNorm: number, tokensPerSecond: number, elapsedSeconds: number, remainingSeconds: number,
    });
    fc.assert(
      fc.property(events, fc.integer({ min: 1, max: 300 }), fc.boolean(), (any, columns, color) => {
        const lines = formatProgressBlock(any, { columns, color, unicode: true });
        for (const line of lines) expect(visibleLength(line)).toBeLessThanOrEqual(Math.max(1, columns - 1));
        // eslint-disable-next-line no-control-regex
        expect(lines.some((line) => /\x1b/.test(line))).toBe(color && lines.some((line) => /━|─|loss/.test(line)));
        expect(formatProgressLine(any)).not.toMatch(/\n|undefined/);
      }),
    );
  });
});

describe('a terminal', () => {
  const env = { LANG: 'C.UTF-8' };

  it('is repainted in place; what is printed stays above, unharmed', () => {
    const terminal = new Terminal(80);
    let now = 0;
    const progress = new Progress({ stream: terminal, env, now: () => now });
    terminal.write('earlier\n');
    for (let step = 1; step <= 30; step++, now += 200) {
      progress.update({ ...event, step });
      if (step === 10) progress.print('sample one\nand \x1b[2J more');
    }
    progress.print('x'.repeat(200));
    const [first, second, third, long, bar, values, ...rest] = terminal.screen();
    expect([first, second, third]).toEqual(['earlier', 'sample one', 'and ␛[2J more']);
    expect(long).toBe('x'.repeat(200));
    expect(bar).toContain(' 30/2000   1%');
    expect(values).toMatch(/^loss 2.346 /);
    expect(rest).toEqual([]);
    progress.finish();
    progress.update({ ...event, step: 31 });
    terminal.write('after');
    expect(terminal.screen().slice(5)).toEqual([values, 'after']);
  });

  it('survives any resizing', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 2, max: 200 }), fc.boolean()), { maxLength: 20 }), (sizes) => {
        const terminal = new Terminal(100);
        let now = 0;
        const progress = new Progress({ stream: terminal, env, now: () => (now += 1000) });
        terminal.write('above\n');
        progress.update(event);
        let printed = 0;
        for (const [columns, print] of sizes) {
          terminal.resize(columns);
          if (print) progress.print(`sample ${printed++}`);
          progress.update(event);
        }
        const samples = Array.from({ length: printed }, (_, i) => `sample ${i}`);
        const block = formatProgressBlock(event, { columns: terminal.columns, color: false, unicode: true }).map((l) =>
          l.trimEnd(),
        );
        expect(terminal.screen()).toEqual(['above', ...samples, ...block]);
      }),
    );
  });

  it('is not repainted more than ten times per second, but at the end', () => {
    const terminal = new Terminal(80);
    let now = 0;
    const progress = new Progress({ stream: terminal, env, now: () => now });
    for (let step = 1; step <= 2000; step++, now += 1) progress.update({ ...event, step });
    expect(terminal.writes).toBe(20 + 1);
    expect(terminal.screen()[0]).toContain('2000/2000 100%');
  });

  it('is not coloured with NO_COLOR, and gets plain lines if it is dumb', () => {
    const written = (env: Record<string, string>) => {
      let text = '';
      const stream = { isTTY: true, columns: 60, write: (part: string) => (text += part) };
      using progress = new Progress({ stream, env });
      progress.update(event);
      progress.finish();
      return text;
    };
    expect(written({})).toContain('\x1b[32m');
    // eslint-disable-next-line no-control-regex
    expect(written({ NO_COLOR: '1' })).not.toMatch(/\x1b\[[0-9;]*m/);
    expect(written({ TERM: 'dumb' })).toBe(`${formatProgressLine(event)}\n`);
  });
});

describe('no terminal', () => {
  it('gets a line for the first step, every N steps and the last one', () => {
    let text = '';
    const stream = { write: (part: string) => (text += part) };
    const progress = new Progress({ stream, linesEvery: 10, env: {} });
    for (let step = 1; step <= 25; step++) {
      progress.update({ ...event, step, totalSteps: 25 });
      if (step === 12) progress.print('a sample');
    }
    progress.finish();
    const seen = text.split('\n').map((line) => /^step \d+/.exec(line)?.[0] ?? line);
    expect(seen).toEqual(['step 1', 'step 10', 'a sample', 'step 20', 'step 25', '']);
  });

  it('gets the last state when the training is stopped', () => {
    let text = '';
    const progress = new Progress({ stream: { write: (part: string) => (text += part) }, linesEvery: 10, env: {} });
    for (let step = 1; step <= 7; step++) progress.update({ ...event, step });
    progress.finish();
    progress.finish();
    expect(text.match(/step \d+/g)).toEqual(['step 1', 'step 7']);
  });
});
