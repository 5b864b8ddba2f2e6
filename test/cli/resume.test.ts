/** @file Runs that are stopped: killed at three moments, interrupted, resumed; they end in the bits of one that was not. */
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-resume-'));
const text = path.join(folder, 'text.txt');
const STEPS = 24;

/** Dropout, two micro-batches and carried state: everything that a checkpoint must bring back. */
const settings = [
  ...['--device', fastestDevice(), '--tokenizer', 'bytes', '--steps', String(STEPS), '--out', folder],
  '--set',
  ...['model.dim=64', 'model.blocks=[mlstm,slstm]', 'model.dropout=0.1', 'model.mlstm.projectionFactor=8'],
  ...['training.batchSize=2', 'training.contextLength=24', 'training.gradientAccumulation=2'],
  ...['training.stateful=true', 'data.order=stream', 'log.everySteps=1', 'schedule.warmupSteps=3'],
  ...['checkpoint.everySteps=5', 'evaluation.everySteps=7', 'evaluation.batches=2', 'samples.everySteps=0'],
];

const start = (name: string, during?: (child: ChildProcess) => void) =>
  xlstm(['train', text, ...settings, '--name', name], during);
const resume = (name: string, during?: (child: ChildProcess) => void) =>
  xlstm(['train', '--resume', path.join(folder, name)], during);
const checkpoints = (name: string) => path.join(folder, name, 'checkpoints');
const result = (name: string) =>
  ['model.safetensors', 'training.safetensors'].map((file) =>
    fs.readFileSync(path.join(checkpoints(name), String(STEPS), file)),
  );
const steps = (name: string) =>
  fs
    .readFileSync(path.join(folder, name, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; trainLoss: number });

/** Kills the process once it has printed the line of that step. */
const killAtStep = (step: number) => (child: ChildProcess) => {
  child.stdout!.on('data', (chunk: string) => {
    if (chunk.includes(`step ${step}/`)) child.kill('SIGKILL');
  });
};

/** Kills the process while a checkpoint folder is written beside its place. */
const killWhileSaving = (name: string) => (child: ChildProcess) => {
  const timer = setInterval(() => {
    const entries = fs.existsSync(checkpoints(name)) ? fs.readdirSync(checkpoints(name)) : [];
    const unfinished = entries.find((entry) => entry.includes('tmp'));
    // A second one: the first checkpoint must stand when this one is cut off.
    if (unfinished !== undefined && entries.includes('5')) child.kill('SIGKILL');
  }, 0);
  child.on('close', () => clearInterval(timer));
};

describe.skipIf(!commandIsBuilt)('a run that is stopped (needs npm run build)', () => {
  beforeAll(async () => {
    const lines = Array.from({ length: 400 }, (_, k) => `Line ${k} says that ${k} times ${k % 7} is ${k * (k % 7)}.`);
    fs.writeFileSync(text, lines.join('\n'));
    const whole = await start('whole');
    expect(whole.stderr + whole.stdout).toContain('done in');
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  const sameAsWhole = (name: string) => {
    result(name).forEach((bytes, k) => expect(bytes.equals(result('whole')[k]!), 'same bits').toBe(true));
    const [mine, wanted] = [steps(name), steps('whole')];
    expect(mine.map(({ step }) => step)).toEqual(wanted.map(({ step }) => step));
    expect(mine.map(({ trainLoss }) => trainLoss)).toEqual(wanted.map(({ trainLoss }) => trainLoss));
  };

  it('killed between checkpoints', async () => {
    expect((await start('between', killAtStep(8))).signal).toBe('SIGKILL');
    expect((await resume('between')).stdout).toContain('going on at step');
    sameAsWhole('between');
  });

  it('killed before the first checkpoint, then again later', async () => {
    expect((await start('twice', killAtStep(2))).signal).toBe('SIGKILL');
    expect((await resume('twice', killAtStep(17))).signal).toBe('SIGKILL');
    expect((await resume('twice')).code).toBe(0);
    sameAsWhole('twice');
  });

  it('killed while a checkpoint is written: the one before stands', async () => {
    const unfinished = (name: string) => fs.readdirSync(checkpoints(name)).some((entry) => entry.includes('tmp'));
    // Writing takes some 20 ms: the blow may come too late, so there are a few tries to strike in the middle of it.
    let name = '';
    for (let attempt = 0; attempt < 6; attempt++) {
      name = `saving-${attempt}`;
      const { signal } = await start(name, killWhileSaving(name));
      if (signal === 'SIGKILL' && unfinished(name)) break;
    }
    expect(unfinished(name), 'killed in the middle of writing').toBe(true);
    expect((await resume(name)).code).toBe(0);
    expect(unfinished(name)).toBe(false);
    sameAsWhole(name);
  });

  it('Ctrl-C writes a checkpoint and says how to go on', async () => {
    const stopped = await start('interrupted', (child) => {
      child.stdout!.on('data', (chunk: string) => {
        if (chunk.includes('step 8/')) child.kill('SIGINT');
      });
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stdout).toContain(`xlstm train --resume ${path.join(folder, 'interrupted')}`);
    const saved = Math.max(...fs.readdirSync(checkpoints('interrupted')).map(Number));
    expect(saved).toBe(steps('interrupted').at(-1)!.step);
    expect((await resume('interrupted')).code).toBe(0);
    sameAsWhole('interrupted');
  });

  it('more steps than planned; data and model cannot change', async () => {
    const more = await xlstm(['train', '--resume', path.join(folder, 'whole'), '--steps', '26']);
    expect(more.stdout).toContain('26/26');
    const wider = await xlstm(['train', '--resume', path.join(folder, 'whole'), '--set', 'model.dim=128']);
    expect(wider.stderr).toContain('data and model of a run cannot change');
  });
});
