/**
 * @file A training run: the trainer with data, schedule, logs, evaluation, samples and checkpoints around it, in a run
 * folder from which it can go on. Iterate over it; each round is one optimizer step.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parse, stringify } from 'yaml';
import type { Device } from '../device/device.js';
import { openProven } from '../device/open-proven.js';
import { explainWriteFailure, makeFolder } from '../model/disk.js';
import { giveWay } from '../event-loop.js';
import { decode } from '../generate/decode.js';
import { DivergedError } from '../generate/sampler.js';
import { loadModel } from '../model/checkpoint.js';
import { kernelsOf } from '../model/kernels-of.js';
import { LanguageModel } from '../model/language-model.js';
import { fold, randomKey } from '../tensor/random.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { resolveRunConfig, writtenRunConfig, type RunConfig, type RunConfigInput } from './config.js';
import { checkVocabulary, withInitialModel } from './initial-model.js';
import { evaluate } from './evaluate.js';
import { nonFiniteError } from './nonfinite.js';
import { explainOutOfMemory } from './out-of-memory.js';
import { openRunData, prepareRunData, type PrepareProgress, type RunData } from './run-data.js';
import {
  checkpointSteps,
  pruneCheckpoints,
  restoreCheckpoint,
  runPaths,
  saveCheckpoint,
  type RunProgress,
} from './run-folder.js';
import { RunLog } from './run-log.js';
import { writeRunReport } from './run-report.js';
import { learningRateAt } from './schedule.js';
import type { TrainStep } from './train-step.js';
import { Trainer, type StepResult } from './trainer.js';

export interface TrainOptions {
  /** Stops after the step in progress: a checkpoint is written, then the iteration ends. */
  readonly signal?: AbortSignal;
  /** Called while text is read and tokenised. */
  readonly onPrepare?: (progress: PrepareProgress) => void;
  /** A device that is already open; default: as the configuration says. */
  readonly device?: Device;
  /** Told that "auto" left out a device that works here, and why. */
  readonly onFallback?: (reason: string) => void;
}

const EMA_DECAY = 0.98;

export class Run implements AsyncIterable<TrainStep> {
  readonly folder: string;
  readonly config: RunConfig;
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly data: RunData;
  readonly #trainer: Trainer;
  readonly #options: TrainOptions;
  #progress: RunProgress = { step: 0, updates: 0, tokens: 0, elapsedSeconds: 0, emaLoss: null, best: null };

  private constructor(folder: string, config: RunConfig, data: RunData, trainer: Trainer, options: TrainOptions) {
    this.folder = folder;
    this.config = config;
    this.data = data;
    this.model = trainer.model;
    this.tokenizer = data.tokenizer;
    this.#trainer = trainer;
    this.#options = options;
  }

  /**
   * Begins a run: reads and tokenises the text, makes the run folder and the model.
   * @throws ConfigError, or an Error that names the file at fault.
   */
  static async start(input: RunConfigInput, options: TrainOptions = {}): Promise<Run> {
    const checked = resolveRunConfig(input, 'config');
    checkConsistency(checked);
    const config = checked.init === '' ? checked : withInitialModel(checked);
    const folder = newRunFolder(config);
    const data = await prepareRunData(config, folder, options);
    const { vocabSize } = data.tokenizer;
    checkVocabulary(config, vocabSize);
    const model = { ...config.model, ...(config.init === '' ? { vocabSize } : {}) };
    const resolved: RunConfig = { ...config, model, name: path.basename(folder) };
    fs.writeFileSync(runPaths(folder).config, stringify(writtenRunConfig(resolved)));
    return Run.#open(folder, resolved, data, options, config.init !== '');
  }

  /**
   * Goes on with a run from its last checkpoint, to the same bits as if it had never stopped.
   * @param changes  fields of the configuration to change, such as more steps
   * @throws Error when the folder is no run or its text has changed since.
   */
  static async resume(
    folder: string,
    changes: (config: RunConfigInput) => void = () => {},
    options: TrainOptions = {},
  ): Promise<Run> {
    const file = runPaths(folder).config;
    if (!fs.existsSync(file)) throw new Error(`${folder}: is no run (there is no config.yaml)`);
    const stored = parse(fs.readFileSync(file, 'utf8')) as RunConfigInput;
    const before = resolveRunConfig(structuredClone(stored), file);
    changes(stored);
    const config = resolveRunConfig(stored, file);
    checkConsistency(config);
    if (JSON.stringify([config.data, config.model]) !== JSON.stringify([before.data, before.model])) {
      throw new Error(`${folder}: data and model of a run cannot change; start a new run for that`);
    }
    const data = await openRunData(config, folder);
    fs.writeFileSync(file, stringify(writtenRunConfig(config)));
    const last = checkpointSteps(folder).at(-1);
    const run = await Run.#open(folder, config, data, options, config.init !== '' && last === undefined);
    if (last !== undefined) run.#progress = restoreCheckpoint(runPaths(folder).checkpoint(last), run.#trainer);
    return run;
  }

  /** @param initial  whether the parameters come from the model that `init` names */
  static async #open(
    folder: string,
    config: RunConfig,
    data: RunData,
    options: TrainOptions,
    initial: boolean,
  ): Promise<Run> {
    const { name, threads } = config.device;
    const device =
      options.device ??
      (await openProven(name, {
        ...(threads === 0 ? {} : { threads }),
        needs: () => kernelsOf(config.model, { training: true }),
        ...(options.onFallback && { onFallback: options.onFallback }),
      }));
    const model = initial
      ? loadModel(config.init, device).model
      : LanguageModel.create(config.model, device, config.training.seed);
    const { gradientClip, learningRate: _, ...optimizer } = config.optimizer;
    const trainer = new Trainer(model, {
      optimizer,
      gradientClip,
      checkpointBlocks: config.training.checkpointBlocks,
      activations: config.training.activations === 'bf16' ? 'bf16' : 'float',
      stateful: config.training.stateful,
      key: fold(randomKey(config.training.seed), 'dropout'),
    });
    return new Run(folder, config, data, trainer, options);
  }

  /** Steps done so far. */
  get step(): number {
    return this.#progress.step;
  }

  /** Trains to the last step, or until the signal aborts; then the last checkpoint and the report are written. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TrainStep, void, undefined> {
    const { signal } = this.#options;
    const log = new RunLog(this.folder, this.#progress.step);
    let saved = this.#progress.step;
    try {
      while (this.#progress.step < this.config.training.steps && signal?.aborted !== true) {
        const step = await this.#advance();
        log.step(step);
        if (step.checkpoint !== undefined) saved = step.step;
        yield step;
        await giveWay();
      }
      if (saved < this.#progress.step) await this.#save();
      if (this.#progress.step > 0) await writeRunReport(this);
    } finally {
      log.close();
    }
  }

  /** One step, with the evaluation, sample and checkpoint that are due behind it. */
  async #advance(): Promise<TrainStep> {
    const { steps } = this.config.training;
    const started = performance.now();
    const index = this.#progress.step;
    const learningRate = learningRateAt(this.config.schedule, this.config.optimizer.learningRate, index, steps);
    const result = await this.#trainStep(index, learningRate);
    const seconds = (performance.now() - started) / 1000;
    const step = this.#account(result, seconds);
    const due = (every: number) => every > 0 && (step % every === 0 || step === steps);

    const validation = due(this.config.evaluation.everySteps) ? await this.#evaluate(step === steps) : undefined;
    const sample = due(this.config.samples.everySteps) ? await this.#sample() : undefined;
    this.#progress = {
      ...this.#progress,
      elapsedSeconds: this.#progress.elapsedSeconds - seconds + (performance.now() - started) / 1000,
    };
    const checkpoint = due(this.config.checkpoint.everySteps) || validation?.best ? await this.#save() : undefined;

    const { elapsedSeconds, emaLoss } = this.#progress;
    return {
      step,
      totalSteps: steps,
      tokens: this.#progress.tokens,
      loss: result.loss,
      emaLoss: emaLoss ?? result.loss,
      bitsPerByte: this.data.bitsPerByte('train', result.loss),
      learningRate,
      gradientNorm: result.gradientNorm,
      tokensPerSecond: result.tokens / seconds,
      elapsedSeconds,
      remainingSeconds: (elapsedSeconds / step) * (steps - step),
      skipped: result.skipped,
      ...(validation === undefined ? {} : { validation }),
      ...(sample === undefined ? {} : { sample }),
      ...(checkpoint === undefined ? {} : { checkpoint }),
    };
  }

  async #trainStep(index: number, learningRate: number): Promise<StepResult> {
    const { gradientAccumulation, onNonFinite } = this.config.training;
    const batches = Array.from({ length: gradientAccumulation }, (_, micro) =>
      this.data.batchAt(index * gradientAccumulation + micro),
    );
    const before = this.#trainer.state?.clone() ?? null;
    const held = this.model.device.memory.bytes;
    try {
      const result = await this.#trainer.step(batches, learningRate, index);
      if (result.skipped && onNonFinite !== 'skip')
        throw await nonFiniteError(this.#trainer, this.folder, onNonFinite, batches[0]!, index, before);
      return result;
    } catch (error) {
      throw explainOutOfMemory(error, this.#trainer, this.config, index + 1, held);
    } finally {
      before?.dispose();
    }
  }

  #account(result: StepResult, seconds: number): number {
    const { step, updates, tokens, elapsedSeconds, emaLoss, best } = this.#progress;
    const ema = result.skipped
      ? emaLoss
      : emaLoss === null
        ? result.loss
        : EMA_DECAY * emaLoss + (1 - EMA_DECAY) * result.loss;
    this.#progress = {
      step: step + 1,
      updates: updates + (result.skipped ? 0 : 1),
      tokens: tokens + result.tokens,
      elapsedSeconds: elapsedSeconds + seconds,
      emaLoss: ema,
      best,
    };
    return step + 1;
  }

  async #evaluate(whole: boolean): Promise<TrainStep['validation']> {
    const batches = this.data.validationBatches(whole ? 0 : this.config.evaluation.batches);
    if (batches === null) return undefined;
    const { loss, targets } = await evaluate(
      this.model,
      batches,
      this.#options.signal,
      this.#trainer.options.activations,
    );
    if (targets === 0 || this.#options.signal?.aborted) return undefined;
    const best = Number.isFinite(loss) && loss < (this.#progress.best?.loss ?? Infinity);
    if (best) this.#progress = { ...this.#progress, best: { step: this.#progress.step, loss } };
    return { loss, bitsPerByte: this.data.bitsPerByte('validation', loss), best };
  }

  async #sample(): Promise<TrainStep['sample']> {
    const { prompt, maxTokens, temperature, topP } = this.config.samples;
    const { eosId } = this.tokenizer;
    const encoded =
      prompt === '' && eosId !== null ? Int32Array.of(eosId) : this.tokenizer.encode(prompt === '' ? '\n' : prompt);
    const decoder = this.tokenizer.decoder({ skipSpecial: true });
    const { signal } = this.#options;
    const options = {
      maxTokens,
      temperature,
      topP,
      seed: this.#progress.step,
      stopTokens: eosId === null ? [] : [eosId],
    };
    let text = '';
    try {
      for await (const token of decode(this.model, encoded, signal === undefined ? options : { ...options, signal })) {
        text += decoder.push(token);
      }
    } catch (error) {
      // With onNonFinite "skip" the run goes on, and may recover.
      if (!(error instanceof DivergedError)) throw error;
      text += `(${error.message})`;
    }
    return { prompt, text: text + decoder.end() };
  }

  async #save(): Promise<string> {
    const { step, best } = this.#progress;
    const facts = {
      ...this.data.facts,
      steps: step,
      tokens: this.#progress.tokens,
      validationLoss: best?.loss ?? null,
    };
    await saveCheckpoint(this.folder, this.#trainer, this.tokenizer, this.#progress, facts);
    pruneCheckpoints(this.folder, this.config.checkpoint.keepLast, best?.step ?? null);
    return runPaths(this.folder).checkpoint(step);
  }

  dispose(): void {
    this.#trainer.dispose();
    this.model.dispose();
    this.data.close();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkConsistency(config: RunConfig): void {
  if (config.data.files.length === 0) {
    throw new Error('data.files: no text to train on; name .txt, .jsonl or .jsonl.zst files');
  }
  if (config.training.stateful && config.data.order !== 'stream') {
    throw new Error(
      'training.stateful: needs data.order=stream, so that each step continues where the last one stopped',
    );
  }
}

/** runs/<name>, or runs/<date> with a number behind it where that is taken. @throws Error when a named one exists. */
function newRunFolder(config: RunConfig): string {
  const base =
    config.name === '' ? new Date().toISOString().slice(0, 16).replace('T', '-').replace(':', '') : config.name;
  for (let attempt = 0; ; attempt++) {
    const folder = path.join(config.out, attempt === 0 ? base : `${base}-${attempt + 1}`);
    if (!fs.existsSync(runPaths(folder).config)) {
      try {
        makeFolder(folder);
      } catch (error) {
        throw explainWriteFailure(error, 'the run', folder, undefined, 'nothing was begun');
      }
      return folder;
    }
    if (config.name !== '')
      throw new Error(`${folder}: this run exists; go on with --resume ${folder}, or choose another name`);
  }
}
