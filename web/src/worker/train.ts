/** @file Requests about training: begin, go on, stop; and keeping what it has come to. */
import {
  countParameters,
  DeviceLostError,
  parameterTable,
  safetensorsBytes,
  parseSafetensors,
  type TensorToWrite,
} from 'xlstm';
import type { TokenizerKind } from '../protocol.js';
import type { Context, Handlers } from './context.js';
import { readText, tokenize } from './data.js';
import { NoGpuError, reopenGpu } from './device.js';
import { hold } from './hold.js';
import { recover, standStill, takeOver } from './lost.js';
import type { Session } from './store.js';
import { MOMENTS_FILE, trainedFiles } from './trained-files.js';
import { modelConfig, Training, type TrainingOptions } from './training.js';

/** Tokens of each kind of tokenizer; of characters, as many as a text in English has about. */
const VOCABULARY: Readonly<Record<TokenizerKind, number>> = { bytes: 257, bpe: 1024, chars: 100 };
/** A model is kept so often, but never so that keeping it takes more than a twentieth of the time. */
const KEEP_EVERY_MS = 5000;
const KEEP_SHARE = 20;

export const trainHandlers: Handlers<'measure' | 'train' | 'resume' | 'stop'> = {
  async measure({ settings }) {
    return { parameters: countParameters(parameterTable(modelConfig(settings, VOCABULARY[settings.tokenizer]))) };
  },

  async train({ text: choice, settings }, context) {
    const before = context.phase;
    context.tellStatus('preparing');
    try {
      const text = await telling(context, 'Reading the text', () => readText(choice));
      const data = await telling(context, 'Making tokens of the text', () => tokenize(text, settings.tokenizer));
      const training = await start(context, { text, data, settings });
      const { model } = training;
      const facts = { text: text.name, contextLength: settings.contextLength };
      await hold(context, { model, tokenizer: data.tokenizer, name: text.name, facts }, training);
    } catch (error) {
      context.tellStatus(before === 'training' ? 'stopped' : before);
      throw error;
    }
    context.emit({ kind: 'history', rows: [] });
    await run(context, context.training!, settings.steps);
    return null;
  },

  async resume({ steps }, context) {
    await context.running; // the step in flight when it was stopped
    const training = context.training ?? (await restore(context));
    context.training = training;
    await run(context, training, steps);
    return null;
  },

  async stop(_, context) {
    if (context.stopTraining === null) return null;
    context.stopTraining.abort();
    context.tellStatus('stopped'); // at once; the step in flight, which may be long, is counted when it ends
    await context.running;
    return null;
  },
};

/** A training that takes the worker to another device when it loses its own. */
async function start(context: Context, what: Omit<TrainingOptions, 'openDevice' | 'onLost'>): Promise<Training> {
  const onLost = (): void => takeOver(context, training);
  const training: Training = await Training.start(context.device, { ...what, openDevice: reopenGpu, onLost });
  return training;
}

/** Shows that something takes a while as long as it does. */
async function telling<T>(context: Context, label: string, work: () => Promise<T>): Promise<T> {
  context.emit({ kind: 'progress', progress: { label, share: null } });
  try {
    await new Promise((resolve) => setTimeout(resolve)); // so that it is shown before the work begins
    return await work();
  } finally {
    context.emit({ kind: 'progress', progress: null });
  }
}

/** The training of the model that was kept, as it stood. */
async function restore(context: Context): Promise<Training> {
  const { held, store } = context;
  const { session } = store;
  if (held === null || session === null || session.status === null || session.textId === null) {
    throw new Error('There is no training to go on with.');
  }
  const { settings, textName } = session.status;
  context.tellStatus('preparing');
  try {
    const text = { name: textName, text: await store.loadText(session.textId) };
    const data = await telling(context, 'Making tokens of the text', () =>
      tokenize(text, settings.tokenizer, held.tokenizer),
    );
    const moments = (await store.load())?.get(MOMENTS_FILE);
    if (moments === undefined)
      throw new Error('The optimizer of this model is no longer kept; train a new model, or download this one.');
    const { tensors, metadata } = parseSafetensors(new Uint8Array(await moments.arrayBuffer()), MOMENTS_FILE);
    const values = (name: string): Float32Array => tensors.get(name)!.data as Float32Array;
    const training = await start(context, {
      ...{ text, data, settings },
      from: {
        model: held.model,
        moments: { step: Number(metadata['step']), m: values('m'), v: values('v') },
        ...{ step: session.status.step, rows: session.rows },
      },
    });
    training.textId = session.textId;
    return training;
  } catch (error) {
    context.tellStatus('stopped');
    throw error;
  }
}

async function run(context: Context, training: Training, steps: number): Promise<void> {
  const abort = new AbortController();
  context.stopTraining = abort;
  const keeper = new Keeper(context, training);
  const { turns, emit } = context;
  const running = training.run({ steps, signal: abort.signal, turns, emit, onStep: () => keeper.whenDue() });
  context.running = running.catch(() => undefined);
  context.tellStatus('training');
  try {
    await running;
  } catch (error) {
    throw standStill(context, error);
  } finally {
    context.stopTraining = null;
    emit({ kind: 'progress', progress: null });
    context.tellStatus(training.step >= steps ? 'finished' : 'stopped');
    await keepLast(context, keeper);
  }
}

/** Keeps what training came to; where the GPU was lost with it, what it came to before, with another GPU or without. */
async function keepLast(context: Context, keeper: Keeper): Promise<void> {
  const { device } = context;
  try {
    await keeper.keep();
  } catch (error) {
    if (!(error instanceof DeviceLostError)) throw error;
    await recover(context, device, error).catch((failure: unknown) => {
      if (!(failure instanceof NoGpuError)) throw failure;
    });
    await keeper.keep();
  }
}

/** Keeps a model that is being trained. Its numbers are read between two steps; they are written while training goes on. */
class Keeper {
  readonly #context: Context;
  readonly #training: Training;
  #due = performance.now() + KEEP_EVERY_MS;

  constructor(context: Context, training: Training) {
    this.#context = context;
    this.#training = training;
  }

  async whenDue(): Promise<void> {
    if (performance.now() < this.#due) return;
    this.#due = Infinity; // until it is kept
    try {
      const collected = await this.#collect();
      void this.#write(collected);
    } catch (error) {
      this.#due = performance.now() + KEEP_EVERY_MS;
      throw error;
    }
  }

  async keep(): Promise<void> {
    await this.#write(await this.#collect());
  }

  async #collect(): Promise<Collected> {
    const started = performance.now();
    const files = await this.#context.turns.take(async () => {
      const files = await trainedFiles(this.#context);
      return files.set(MOMENTS_FILE, await momentsBlob(this.#training));
    });
    const { status, rows } = this.#training;
    const { name, facts } = this.#context.held!;
    return { started, files, session: { name, facts, status, rows: [...rows] } };
  }

  /** Storage that is full is told to the page; training goes on. */
  async #write({ started, files, session }: Collected): Promise<void> {
    const { store, emit } = this.#context;
    try {
      const textId = (this.#training.textId ??= await store.saveText(this.#training.text.text));
      const bytes = await store.save({ ...session, textId }, files);
      emit({ kind: 'kept', bytes, problem: store.problem });
    } catch (error) {
      emit({ kind: 'kept', bytes: null, problem: (error as Error).message });
    }
    const now = performance.now();
    this.#due = now + Math.max(KEEP_EVERY_MS, KEEP_SHARE * (now - started));
  }
}

interface Collected {
  readonly started: number;
  readonly files: ReadonlyMap<string, Blob>;
  readonly session: Omit<Session, 'textId'>;
}

async function momentsBlob(training: Training): Promise<Blob> {
  const { step, m, v } = await training.moments();
  const tensor = (name: string, data: Float32Array): TensorToWrite => {
    return { name, dtype: 'F32', shape: [data.length], data: data as Float32Array<ArrayBuffer> };
  };
  return new Blob([await safetensorsBytes([tensor('m', m), tensor('v', v)], { step: String(step) })]);
}
