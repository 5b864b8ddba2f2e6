/** @file Carrying out a plan: each run once, whatever ends the process; runs that break; two commands in one folder. */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { comparePaths, readRunResult, writeRunResult } from '../../src/experiments/compare-folder.js';
import { lockFolder } from '../../src/experiments/folder-lock.js';
import { parseResults } from '../../src/experiments/results-csv.js';
import { inProcesses } from '../../src/experiments/run-process.js';
import { carryOut, strangeRuns, type RunEvent } from '../../src/experiments/runner.js';
import { WriteError } from '../../src/model/disk.js';
import { fakePlan, fakeResult, fakeTraining } from '../support/fake-training.js';
import { canMount, smallDisk, temporaryFolder } from '../support/folders.js';

const execute = fakeTraining;

/** How often each run began and ended, by the notes that runs leave. */
function noted(log: string): Record<string, { begin: number; end: number }> {
  const found: Record<string, { begin: number; end: number }> = {};
  const text = fs.existsSync(log) ? fs.readFileSync(log, 'utf8') : '';
  for (const line of text.split('\n').filter((some) => some !== '')) {
    const [word, name] = line.split(' ') as ['begin' | 'end', string];
    (found[name] ??= { begin: 0, end: 0 })[word]++;
  }
  return found;
}

describe('carrying out a plan', () => {
  it('does each run once, keeps configuration and result of each, and writes the table', async () => {
    const folder = path.join(temporaryFolder(), 'comparison');
    const log = path.join(path.dirname(folder), 'log');
    const plan = fakePlan(5, { log });
    const events: RunEvent[] = [];
    const first = await carryOut(folder, plan, { jobs: 2, execute, onEvent: (event) => events.push(event) });
    expect([first.carriedOut, first.before, first.left]).toEqual([5, 0, 0]);
    expect(events.map(({ kind }) => kind).toSorted()).toEqual(
      ['end', 'progress', 'start'].flatMap((kind) => Array.from({ length: 5 }, () => kind)),
    );
    expect(readRunResult(folder, 'run-3')).toEqual(fakeResult(plan[3]!));
    expect(fs.readFileSync(comparePaths(folder).runConfig('run-3'), 'utf8')).toContain('seed: 3');
    const rows = parseResults(fs.readFileSync(comparePaths(folder).results, 'utf8'));
    expect(rows).toHaveLength(10);
    expect(rows.find(({ measure }) => measure === 'perplexity')!.value).toBe(Infinity);

    const second = await carryOut(folder, plan, { jobs: 2, execute });
    expect([second.carriedOut, second.before, second.left]).toEqual([0, 5, 0]);
    expect(Object.values(noted(log))).toEqual(plan.map(() => ({ begin: 1, end: 1 })));
  });

  it('does the chosen runs only, and the table has those that were finished before besides', async () => {
    const folder = temporaryFolder();
    const plan = fakePlan(6, {});
    await carryOut(folder, plan, { jobs: 1, execute, only: ({ seed }) => seed < 2 });
    const { results } = await carryOut(folder, plan, { jobs: 1, execute, only: ({ seed }) => seed === 4 });
    expect([...results.keys()].toSorted()).toEqual(['run-0', 'run-1', 'run-4']);
    expect(parseResults(fs.readFileSync(comparePaths(folder).results, 'utf8'))).toHaveLength(6);
    expect(strangeRuns(folder, plan.slice(1))).toEqual(['run-0']);
  });

  it('keeps the order of the plan in the table, whoever is done first', async () => {
    const folder = temporaryFolder();
    const plan = fakePlan(4, (k) => ({ milliseconds: 40 - 10 * k }));
    await carryOut(folder, plan, { jobs: 4, execute });
    const rows = parseResults(fs.readFileSync(comparePaths(folder).results, 'utf8'));
    expect([...new Set(rows.map(({ run }) => run))]).toEqual(plan.map(({ name }) => name));
  });

  it('runs no more at a time than there are jobs', async () => {
    let now = 0;
    let most = 0;
    await carryOut(temporaryFolder(), fakePlan(9, {}), {
      jobs: 3,
      execute: async (spec) => {
        most = Math.max(most, ++now);
        await wait(5);
        now--;
        return fakeResult(spec);
      },
    });
    expect(most).toBe(3);
  });
});

describe('a run that breaks', () => {
  it('leaves a sentence, and the others go on; it is done again only when that is asked for', async () => {
    const folder = temporaryFolder();
    const log = path.join(folder, 'log');
    const plan = fakePlan(3, (k) => (k === 1 ? { log, breaks: 'throws' } : { log }));
    const { results } = await carryOut(folder, plan, { jobs: 1, execute });
    expect(results.get('run-1')).toMatchObject({
      status: 'failed',
      reason: 'lstm: heads must divide the width, got 4 heads of 10',
    });
    expect(readRunResult(folder, 'run-2')?.status).toBe('done');
    const rows = parseResults(fs.readFileSync(comparePaths(folder).results, 'utf8'));
    expect(rows.find(({ run }) => run === 'run-1')).toMatchObject({ status: 'failed', measure: '', value: null });

    await carryOut(folder, plan, { jobs: 1, execute });
    expect(noted(log)['run-1']).toEqual({ begin: 1, end: 0 });
    await carryOut(folder, plan, { jobs: 1, execute, retryFailed: true });
    expect(noted(log)).toMatchObject({ 'run-0': { begin: 1 }, 'run-1': { begin: 2 } });
  });

  it('on a full disk ends all in a sentence; the same command goes on', async () => {
    const folder = temporaryFolder();
    const plan = fakePlan(4, (k) => (k === 1 ? { breaks: 'diskFull' } : { milliseconds: 20 * k }));
    await expect(carryOut(folder, plan, { jobs: 2, execute })).rejects.toThrow('the disk is full');
    expect(plan.map(({ name }) => readRunResult(folder, name)?.status ?? null)).toEqual(['done', null, null, null]);
    const freed = fakePlan(4, {});
    const { carriedOut, before } = await carryOut(folder, freed, { jobs: 2, execute });
    expect([carriedOut, before]).toEqual([3, 1]);
  });

  it.skipIf(!canMount)('likewise when the results do not fit (a real full disk: tmpfs; needs root)', async () => {
    const { folder } = smallDisk(128 * 1024);
    const plan = fakePlan(100, {});
    const broken = await carryOut(folder, plan, { jobs: 1, execute }).catch((error: unknown) => error);
    expect(broken).toBeInstanceOf(WriteError);
    expect((broken as Error).message).toMatch(/^cannot write the .* the disk is full .*; free space/);
    const finished = plan.filter(({ name }) => readRunResult(folder, name) !== null);
    expect(finished.length).toBeGreaterThan(2);
    expect(finished.length).toBeLessThan(100);
    // With space again, it goes on where it was.
    spawnSync('mount', ['-o', 'remount,size=16m', folder]);
    const { carriedOut, left } = await carryOut(folder, plan, { jobs: 1, execute });
    expect([carriedOut, left]).toEqual([100 - finished.length, 0]);
  });

  it('a damaged result is named, with what to do', async () => {
    const folder = temporaryFolder();
    const plan = fakePlan(1, {});
    await carryOut(folder, plan, { jobs: 1, execute });
    const file = comparePaths(folder).runResult('run-0');
    fs.writeFileSync(file, '{"status":"done"');
    await expect(carryOut(folder, plan, { jobs: 1, execute })).rejects.toThrow(
      `remove ${file}, and the run is done again`,
    );
    fs.writeFileSync(file, '{"status":"dnoe"}');
    await expect(carryOut(folder, plan, { jobs: 1, execute })).rejects.toThrow('did you mean "done"?');
  });
});

describe('in processes of their own', () => {
  const worker = new URL('../support/fake-worker.ts', import.meta.url);
  const inWorkers = inProcesses(worker);
  const withNodeOptions = (more = '') => {
    const before = process.env['NODE_OPTIONS'];
    process.env['NODE_OPTIONS'] = `--import tsx ${more}`;
    onTestFinished(() => {
      if (before === undefined) delete process.env['NODE_OPTIONS'];
      else process.env['NODE_OPTIONS'] = before;
    });
  };

  it('results come back to the same bits; every way to break is a sentence, and the others go on', async () => {
    withNodeOptions();
    const folder = temporaryFolder();
    const ways = [undefined, 'throws', 'exit', 'SIGKILL', 'SIGTERM'] as const;
    const plan = fakePlan(5, (k) => (ways[k] === undefined ? {} : { breaks: ways[k] }));
    const { results } = await carryOut(folder, plan, { jobs: 2, execute: inWorkers });
    expect(results.get('run-0')).toEqual(fakeResult(plan[0]!));
    expect(results.get('run-1')?.reason).toBe('lstm: heads must divide the width, got 4 heads of 10');
    expect(results.get('run-2')?.reason).toBe('the process ended by code 3 with: a library said farewell');
    expect(results.get('run-3')?.reason).toMatch(/^the process was ended by SIGKILL, most likely because memory/);
    // What asks all processes of a job to stop does not make the run a failure.
    expect(results.get('run-4')?.status).toBe('done');
  });

  it('a full heap is a sentence', async () => {
    withNodeOptions('--max-old-space-size=64');
    const [spec] = fakePlan(1, { breaks: 'heap' });
    await expect(inWorkers(spec!, {})).rejects.toThrow('ran out of memory (the limit of its JavaScript heap)');
  });

  it('a full disk ends all', async () => {
    withNodeOptions();
    const folder = temporaryFolder();
    const plan = fakePlan(3, (k) => (k === 0 ? { breaks: 'diskFull' } : {}));
    await expect(carryOut(folder, plan, { jobs: 1, execute: inWorkers })).rejects.toThrow(WriteError);
    expect(plan.map(({ name }) => readRunResult(folder, name))).toEqual([null, null, null]);
  });

  it('a signal ends the process at once, and the run is not done', async () => {
    withNodeOptions();
    const folder = temporaryFolder();
    const log = path.join(folder, 'log');
    const controller = new AbortController();
    const plan = fakePlan(3, { log, milliseconds: 60_000 });
    const started = performance.now();
    const summary = await carryOut(folder, plan, {
      jobs: 2,
      execute: inWorkers,
      signal: controller.signal,
      onEvent: ({ kind }) => kind === 'progress' && controller.abort(),
    });
    expect(performance.now() - started).toBeLessThan(20_000);
    expect([summary.carriedOut, summary.left]).toEqual([0, 3]);
  });
});

describe('a process that is killed', () => {
  const script = fileURLToPath(new URL('../support/fake-compare.ts', import.meta.url));
  const RUNS = 12;

  /** Runs the whole plan in a process, and sends it a signal after a while. */
  const compare = (folder: string, log: string, signal: NodeJS.Signals | null, milliseconds: number) =>
    new Promise<{ code: number | null; stderr: string }>((resolve) => {
      const child = spawn(process.execPath, ['--import', 'tsx', script, folder, log, String(RUNS), '2'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      // Counted from its first run: starting takes longer than the runs.
      const watch = setInterval(() => {
        if (signal === null || !fs.existsSync(log)) return;
        clearInterval(watch);
        setTimeout(() => child.kill(signal), milliseconds);
      }, 2);
      child.on('close', (code) => {
        clearInterval(watch);
        resolve({ code, stderr });
      });
    });

  it('goes on at any point, and no finished run is done again', async () => {
    const folder = temporaryFolder();
    let finished = new Set<string>();
    for (const [k, milliseconds] of [1, 13, 22, 31, 8, 47].entries()) {
      const log = path.join(folder, `log-${k}`);
      await compare(folder, log, k % 3 === 2 ? 'SIGTERM' : 'SIGKILL', milliseconds);
      const begun = Object.keys(noted(log));
      expect(begun.filter((name) => finished.has(name))).toEqual([]);
      const names = fakePlan(RUNS, {}).map(({ name }) => name);
      finished = new Set(names.filter((name) => readRunResult(folder, name) !== null));
    }
    const log = path.join(folder, 'log-last');
    const { code, stderr } = await compare(folder, log, null, 0);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(Object.keys(noted(log)).length).toBe(RUNS - finished.size);
    expect(parseResults(fs.readFileSync(comparePaths(folder).results, 'utf8'))).toHaveLength(2 * RUNS);
    expect(fs.readdirSync(folder).filter((name) => /lock|tmp|old/.test(name))).toEqual([]);
    expect(fs.readdirSync(comparePaths(folder).run('run-0')).toSorted()).toEqual(['config.yaml', 'result.json']);
  });
});

describe('the lock of a folder', () => {
  it('holds off a second command, and is given back', () => {
    const folder = temporaryFolder();
    const lock = lockFolder(folder, 'this comparison');
    expect(() => lockFolder(folder, 'this comparison')).toThrow(
      `this comparison is being worked on by process ${process.pid}; wait for it or choose another --out`,
    );
    lock[Symbol.dispose]();
    lockFolder(folder, 'this comparison')[Symbol.dispose]();
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  it('of a process that is gone, or whose number another one has now, is taken over', () => {
    const folder = temporaryFolder();
    const file = path.join(folder, '.lock');
    const gone = spawnSync(process.execPath, ['-e', '']).pid;
    using lock = lockFolder(folder, 'it');
    const mine = JSON.parse(fs.readFileSync(lock.file, 'utf8')) as Record<string, unknown>;
    for (const other of [
      { ...mine, pid: gone },
      ...(process.platform === 'linux' ? [{ ...mine, began: 'x 1' }] : []),
    ]) {
      fs.writeFileSync(file, JSON.stringify(other));
      lockFolder(folder, 'it')[Symbol.dispose]();
    }
    fs.writeFileSync(file, '{"pid":');
    lockFolder(folder, 'it')[Symbol.dispose]();
  });

  it('of another machine is not judged from here', () => {
    const folder = temporaryFolder();
    const file = path.join(folder, '.lock');
    fs.writeFileSync(file, JSON.stringify({ pid: 1, host: 'far-away', began: '' }));
    expect(() => lockFolder(folder, 'it')).toThrow(`process 1 on far-away; if that is not so any more, remove ${file}`);
  });

  it('keeps two commands apart that begin at once', async () => {
    const folder = temporaryFolder();
    const plan = fakePlan(3, { milliseconds: 20 });
    const both = await Promise.allSettled([
      carryOut(folder, plan, { jobs: 1, execute }),
      carryOut(folder, plan, { jobs: 1, execute }),
    ]);
    expect(both.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  });
});

describe('result.json', () => {
  it('reads back to the same bits, also what JSON lacks', () => {
    const folder = temporaryFolder();
    fs.mkdirSync(comparePaths(folder).run('a'), { recursive: true });
    const result = {
      ...fakeResult(fakePlan(1, {})[0]!),
      finalTrainLoss: NaN,
      metrics: { 'test/perplexity': Infinity, 'test/loss': -Infinity, 'test/accuracy': 0.1 + 0.2 },
      curve: [
        { step: 1, loss: null },
        { step: 2, loss: NaN, validation: { loss: Infinity } },
      ],
    };
    writeRunResult(folder, 'a', result);
    expect(readRunResult(folder, 'a')).toEqual(result);
    expect(readRunResult(folder, 'b')).toBeNull();
  });
});
