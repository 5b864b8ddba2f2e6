/** @file A run through the library: its steps, evaluation, samples, checkpoints kept, abort, steps that are not finite. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { TextModel } from '../../src/generate/text-model.js';
import type { RunConfigInput } from '../../src/train/config.js';
import { readMetrics } from '../../src/train/metrics-log.js';
import { NonFiniteError } from '../../src/train/nonfinite.js';
import { Run } from '../../src/train/run.js';
import type { TrainStep } from '../../src/train/train-step.js';
import { checkpointSteps, readProgress, runPaths } from '../../src/train/run-folder.js';
import { fastestDevice } from '../support/devices.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-run-'));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const text = path.join(folder, 'text.txt');
fs.writeFileSync(text, Array.from({ length: 300 }, (_, k) => `${k} plus ${k % 9} makes ${k + (k % 9)}.`).join('\n'));

type Changes = { [Group in keyof RunConfigInput]?: RunConfigInput[Group] };

const config = (name: string, changes: Changes = {}): RunConfigInput => ({
  name,
  out: folder,
  data: { files: [text], tokenizer: 'bytes' },
  model: { dim: 32, blocks: ['mlstm', 'slstm'], slstm: { heads: 2 } },
  device: { name: fastestDevice() },
  ...changes,
  training: { steps: 20, batchSize: 2, contextLength: 32, ...changes.training },
  optimizer: { learningRate: 0.01, ...changes.optimizer },
  schedule: { warmupSteps: 2, ...changes.schedule },
  evaluation: { everySteps: 6, batches: 2, ...changes.evaluation },
  checkpoint: { everySteps: 5, keepLast: 2, ...changes.checkpoint },
  samples: { everySteps: 10, prompt: '12 plus', maxTokens: 12, ...changes.samples },
});

async function steps(run: Run): Promise<TrainStep[]> {
  const all: TrainStep[] = [];
  for await (const step of run) all.push(step);
  return all;
}

describe('a run that starts from a model', () => {
  const tuned = (name: string, changes: Changes & { init?: string } = {}) => {
    const { model: _, ...rest } = config(name, changes);
    return { init: path.join(folder, 'origin'), ...rest };
  };

  it('begins with its parameters, configuration and tokenizer, and goes on after a stop', async () => {
    using origin = await Run.start(config('origin'));
    const trained = (await steps(origin)).at(-1)!;
    const first = tuned('tuned', { optimizer: { learningRate: 1e-9 }, training: { steps: 2 } });
    using run = await Run.start(first);
    const all = await steps(run);
    expect(run.config.model).toEqual(origin.config.model);
    expect(run.tokenizer.fingerprint()).toBe(origin.tokenizer.fingerprint());
    expect(all[0]!.loss).toBeLessThan(trained.loss + 0.5);
    expect(all.at(-1)!.validation!.loss).toBeCloseTo(trained.validation!.loss, 4);

    const controller = new AbortController();
    using stopped = await Run.start(tuned('stopped', { training: { steps: 2 } }), { signal: controller.signal });
    controller.abort();
    expect(await steps(stopped)).toEqual([]);
    using resumed = await Run.resume(stopped.folder);
    expect((await steps(resumed))[0]!.loss).toBe(all[0]!.loss);
  });

  it('refuses another model, a vocabulary that does not fit, and a folder without a model', async () => {
    const other = { ...tuned('other'), model: { dim: 64 } };
    await expect(Run.start(other)).rejects.toThrow(
      /init: the model of .*origin is taken as it is; leave out model.dim/,
    );
    const preset = { ...tuned('preset'), preset: 'xlstm[1:1]-tiny' };
    await expect(Run.start(preset)).rejects.toThrow('leave out preset');
    const bpe = tuned('bpe', { data: { files: [text], tokenizer: 'bpe', vocabSize: 300 } });
    await expect(Run.start(bpe)).rejects.toThrow(/init: the tokenizer has 300 tokens, the model of .* 257/);
    await expect(Run.start(tuned('nowhere', { init: path.join(folder, 'none') }))).rejects.toThrow('does not exist');
  });
});

describe('a run', () => {
  it('gives its steps, with what is due at each', async () => {
    using run = await Run.start(config('plain'));
    const all = await steps(run);
    expect(all.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, k) => k + 1));
    expect(all.at(-1)!.loss).toBeLessThan(all[0]!.loss - 1);
    const at = (part: 'validation' | 'sample' | 'checkpoint') =>
      all.flatMap((step) => (step[part] === undefined ? [] : [step.step]));
    expect(at('validation')).toEqual([6, 12, 18, 20]);
    expect(at('sample')).toEqual([10, 20]);
    expect(at('checkpoint')).toEqual(expect.arrayContaining([5, 10, 15, 20]));
    expect(all.at(-1)!.validation!.loss).toBeLessThan(all[5]!.validation!.loss);
    expect(all[0]!.learningRate).toBeCloseTo(0.005, 12);
    expect(all[1]!.learningRate).toBeCloseTo(0.01, 12);
    expect(all.at(-1)!.learningRate).toBeCloseTo(0.001, 12);
    expect(all[3]!.bitsPerByte).toBeCloseTo(all[3]!.loss / Math.LN2, 2);

    const rows = readMetrics(runPaths(run.folder).metrics);
    expect(rows.map(({ trainLoss }) => trainLoss)).toEqual(all.map(({ loss }) => loss));
    expect(rows.filter(({ validationLoss }) => validationLoss !== undefined)).toHaveLength(4);
    expect(fs.readFileSync(runPaths(run.folder).report, 'utf8')).toContain('</html>');
    expect(parse(fs.readFileSync(runPaths(run.folder).config, 'utf8'))).toMatchObject({
      name: 'plain',
      model: { vocabSize: 257, normEps: 1e-5 },
    });
  });

  it('keeps the last checkpoints and the best', async () => {
    using run = await Run.start(
      config('kept', { checkpoint: { everySteps: 2, keepLast: 3 }, evaluation: { everySteps: 4, batches: 1 } }),
    );
    const all = await steps(run);
    const best = all.findLast(({ validation }) => validation?.best)!;
    const last = readProgress(runPaths(run.folder).checkpoint(20));
    expect(last.best).toEqual({ step: best.step, loss: best.validation!.loss });
    expect(checkpointSteps(run.folder)).toEqual([...new Set([best.step, 16, 18, 20])].toSorted((a, b) => a - b));
  });

  it('stops when its signal aborts, with a checkpoint from which it goes on', async () => {
    const controller = new AbortController();
    const run = await Run.start(config('aborted'), { signal: controller.signal });
    for await (const { step } of run) if (step === 7) controller.abort();
    run.dispose();
    expect(checkpointSteps(run.folder).at(-1)).toBe(7);
    using again = await Run.resume(run.folder);
    expect(again.step).toBe(7);
    expect((await steps(again)).map(({ step }) => step)[0]).toBe(8);
    using plain = await Run.start(config('unaborted'));
    const losses = (await steps(plain)).map(({ loss }) => loss);
    expect(readMetrics(runPaths(again.folder).metrics).map(({ trainLoss }) => trainLoss)).toEqual(losses);
  });

  it.each([1, 3])('ends in the same bits with %d threads', async (threads) => {
    const final = async (name: string, count: number) => {
      using run = await Run.start(
        config(name, { device: { name: fastestDevice(), threads: count }, samples: { everySteps: 0 } }),
      );
      await steps(run);
      return fs.readFileSync(path.join(runPaths(run.folder).checkpoint(20), 'model.safetensors'));
    };
    expect((await final(`threads-${threads}`, threads)).equals(await final(`threads-2-of-${threads}`, 2))).toBe(true);
  });

  it('the model that it leaves generates: same seed, same text; abort stops it', async () => {
    using model = await TextModel.load(path.join(folder, 'plain'), { device: fastestDevice() });
    const generate = async (seed: number) => {
      let all = '';
      for await (const piece of model.generate('5 plus', { maxTokens: 30, seed })) all += piece;
      return all;
    };
    expect(await generate(1)).toBe(await generate(1));
    const controller = new AbortController();
    let count = 0;
    for await (const _ of model.generate('5', { maxTokens: 1000, signal: controller.signal }))
      if (++count === 5) controller.abort();
    expect(count).toBeLessThanOrEqual(6);
  });
});

describe('a loss that is not finite', () => {
  // So large a rate drives the parameters to infinity at once.
  const broken = (name: string, onNonFinite: 'halt' | 'skip' | 'dump') =>
    Run.start(
      config(name, {
        training: { steps: 6, batchSize: 2, contextLength: 32, onNonFinite },
        optimizer: { learningRate: 1e38 },
      }),
    );

  it('halt: one sentence that names the step', async () => {
    using run = await broken('halt', 'halt');
    await expect(steps(run)).rejects.toThrow(/step \d: loss or gradient is not finite; the last checkpoint stands/);
  });

  it('skip: the run goes on without the update', async () => {
    using run = await broken('skip', 'skip');
    const all = await steps(run);
    expect(all.filter(({ skipped }) => skipped).length).toBeGreaterThan(0);
    expect(all).toHaveLength(6);
  });

  it('dump: the first tensor that went bad, and the batch', async () => {
    using run = await broken('dump', 'dump');
    const error: unknown = await steps(run).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    const file = /Written to (.+\.json)/.exec((error as Error).message)![1]!;
    const dump = JSON.parse(fs.readFileSync(file, 'utf8'));
    expect((error as Error).message).toContain(dump.first.name);
    expect(['parameter', 'activation', 'gradient']).toContain(dump.first.kind);
    expect(dump.batch.tokens).toHaveLength(2 * 32);
  });
});
