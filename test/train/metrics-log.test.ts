import * as fc from 'fast-check';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MetricsLog, readMetrics, type MetricsRow } from '../../src/train/metrics-log.js';
import { canMount, smallDisk, systemError, temporaryFolder } from '../support/folders.js';

afterEach(() => vi.restoreAllMocks());

const newPath = () => path.join(temporaryFolder(), 'metrics.jsonl');
const row = (step: number): MetricsRow => ({ step, time: 1700000000 + step, trainLoss: 8 / step });

function write(file: string, steps: number[], resumeStep?: number): void {
  using log = new MetricsLog(file, resumeStep === undefined ? {} : { resumeStep });
  for (const step of steps) log.append(row(step));
}

describe('MetricsLog', () => {
  it('writes one JSON object per line, at once', () => {
    const file = newPath();
    using log = new MetricsLog(file);
    log.append({ step: 1, time: 2, trainLoss: 3.5, note: 'ä\n' });
    expect(fs.readFileSync(file, 'utf8')).toBe('{"step":1,"time":2,"trainLoss":3.5,"note":"ä\\n"}\n');
    log.append({ step: 2, time: 2, trainLoss: NaN });
    expect(readMetrics(file)).toEqual([
      { step: 1, time: 2, trainLoss: 3.5, note: 'ä\n' },
      { step: 2, time: 2, trainLoss: NaN },
    ]);
  });

  it('goes on where it was', () => {
    const file = newPath();
    write(file, [1, 2]);
    write(file, [3]);
    expect(readMetrics(file)).toEqual([row(1), row(2), row(3)]);
  });

  it('drops the lines beyond the step it resumes from', () => {
    const file = newPath();
    write(file, [10, 20, 20, 30, 40]);
    write(file, [21], 20);
    expect(readMetrics(file).map(({ step }) => step)).toEqual([10, 20, 20, 21]);
    write(file, [1], 0);
    expect(readMetrics(file)).toEqual([row(1)]);
  });

  it('resumed after a kill at any byte, it ends as if there had been none', () => {
    const whole = newPath();
    write(whole, [1, 2, 3, 4, 5]);
    const bytes = fs.readFileSync(whole);
    const file = newPath();
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(5), (killed, resumeStep) => {
        fs.writeFileSync(file, bytes.subarray(0, killed));
        const stands = readMetrics(file).filter(({ step }) => step <= resumeStep).length;
        write(file, [1, 2, 3, 4, 5].slice(stands), resumeStep);
        expect(fs.readFileSync(file).equals(bytes)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('reads logs longer than its block', () => {
    const file = newPath();
    const note = 'ä'.repeat(1000);
    fs.writeFileSync(
      file,
      Array.from({ length: 1500 }, (_, step) => `${JSON.stringify({ step, time: 0, note })}\n`).join(''),
    );
    expect(fs.statSync(file).size).toBeGreaterThan(3e6);
    write(file, [1300], 1299);
    const rows = readMetrics(file);
    expect(rows.map(({ step }) => step)).toEqual(Array.from({ length: 1301 }, (_, i) => i));
    expect(rows.slice(0, 1300).every((r) => r['note'] === note)).toBe(true);
  });

  it('cuts off a last line that is no row, and refuses one in the middle', () => {
    const file = newPath();
    fs.writeFileSync(file, '{"step":1,"time":0}\n\0\0\0\n');
    write(file, [2]);
    expect(readMetrics(file).map(({ step }) => step)).toEqual([1, 2]);
    fs.writeFileSync(file, '{"step":1,"time":0}\n{"loss":3}\n{"step":2,"time":0}\n');
    expect(() => readMetrics(file)).toThrow(
      /metrics\.jsonl:2: not a row of metrics .*found "\{\\"loss\\":3\}"; remove the line/,
    );
    expect(() => new MetricsLog(file)).toThrow(/:2: not a row/);
    expect(fs.readFileSync(file, 'utf8')).toContain('"step":2');
  });

  it('syncs every so many lines, on demand and on close', () => {
    const spy = vi.spyOn(fs, 'fsyncSync');
    const log = new MetricsLog(newPath(), { fsyncEvery: 3 });
    for (let step = 1; step <= 7; step++) log.append(row(step));
    expect(spy).toHaveBeenCalledTimes(2);
    log.sync();
    log.sync();
    expect(spy).toHaveBeenCalledTimes(3);
    log.append(row(8));
    log.close();
    log.close();
    expect(spy).toHaveBeenCalledTimes(4);
    expect(() => log.append(row(9))).toThrow('the log is closed');
  });
});

describe('a full disk', () => {
  it('(injected, in the middle of a line) leaves the lines before and no half line', () => {
    const file = newPath();
    using log = new MetricsLog(file);
    log.append(row(1));
    const { writeSync } = fs;
    let calls = 0;
    vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, bytes: Uint8Array, offset: number, length: number) => {
      if (calls++ > 0) throw systemError('ENOSPC');
      return writeSync(fd, bytes, offset, Math.min(length, 5));
    }) as typeof fs.writeSync);
    expect(() => log.append(row(2))).toThrow(
      /^cannot write the metrics \S+metrics\.jsonl: the disk is full \(ENOSPC, .*; the lines before stand$/,
    );
    vi.restoreAllMocks();
    log.append(row(3));
    expect(readMetrics(file)).toEqual([row(1), row(3)]);
  });

  it.skipIf(!canMount)('(a real one: tmpfs; needs root) likewise', () => {
    const { folder } = smallDisk(1 << 16);
    const file = path.join(folder, 'metrics.jsonl');
    using log = new MetricsLog(file);
    const long = (step: number) => ({ ...row(step), note: 'x'.repeat(999) });
    let written = 0;
    expect(() => {
      for (let step = 1; step <= 1000; step++, written++) log.append(long(step));
    }).toThrow(/the disk is full \(ENOSPC, .*; the lines before stand$/);
    expect(written).toBeGreaterThan(50);
    expect(fs.readFileSync(file, 'utf8').endsWith('"}\n')).toBe(true);
    expect(readMetrics(file)).toHaveLength(written);
    write(file, [], 10);
    expect(readMetrics(file)).toHaveLength(10);
  });
});
