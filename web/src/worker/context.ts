/** @file What the handlers of the worker share: the device, the model that it holds, and the way to the page. */
import type { Device, LanguageModel, Tokenizer } from 'xlstm';
import type { Answer, Fields, Kind, ModelStatus, Phase, WorkerEvent } from '../protocol.js';
import type { Store } from './store.js';
import type { Training } from './training.js';
import { Turns } from './turns.js';

/** Answers requests of some kinds. */
export type Handlers<K extends Kind> = {
  readonly [Name in K]: (fields: Fields<Name>, context: Context) => Promise<Answer<Name>>;
};

/** A model with its tokenizer, and what the page shows of it. */
export interface Held {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly name: string;
  /** What it was trained on, for its config.json. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export class Context {
  readonly emit: (event: WorkerEvent) => void;
  readonly store: Store;
  /** Steps and saves, one after the other. */
  readonly turns = new Turns();
  held: Held | null = null;
  /** The training of the model held; null where it was opened, or came back after a reload and was not gone on with. */
  training: Training | null = null;
  phase: Phase = 'idle';
  /** Whether the device was lost and no other one opens: what needs a GPU fails, what is kept can still be saved. */
  isWithoutGpu = false;
  /** Aborts the training, and the generation, that runs; each settles when it has ended. */
  stopTraining: AbortController | null = null;
  stopGenerating: AbortController | null = null;
  running: Promise<unknown> = Promise.resolve();
  generating: Promise<unknown> = Promise.resolve();
  /** While a device that was lost is replaced. */
  recovery: Promise<void> | null = null;
  #device: Device | null = null;

  constructor(emit: (event: WorkerEvent) => void, store: Store) {
    this.emit = emit;
    this.store = store;
  }

  get hasDevice(): boolean {
    return this.#device !== null;
  }

  /** @throws Error before the device was opened. */
  get device(): Device {
    if (this.#device === null) throw new Error('There is no GPU to compute on.');
    return this.#device;
  }

  set device(device: Device) {
    this.#device = device;
  }

  get model(): LanguageModel | null {
    return this.held?.model ?? null;
  }

  get tokenizer(): Tokenizer | null {
    return this.held?.tokenizer ?? null;
  }

  /** Tells the page what there is. */
  tellStatus(phase: Phase = this.phase): void {
    this.phase = phase;
    this.emit({ kind: 'status', phase, model: this.#status() });
  }

  #status(): ModelStatus | null {
    if (this.held === null) return null;
    const { model, name } = this.held;
    const { blocks, dim, vocabSize } = model.config;
    const kept = this.store.session;
    const training = this.training?.status ?? (kept === null ? null : kept.status);
    return { name, blocks: blockText(blocks), dim, vocabSize, parameters: model.parameterCount, training };
  }
}

const LETTERS: Readonly<Record<string, string>> = { mlstm: 'm', slstm: 's', lstm: 'l' };

/** "m s m s" where all blocks have a letter, else "mlstmLarge × 32". */
function blockText(blocks: readonly string[]): string {
  if (blocks.every((name) => name in LETTERS)) return blocks.map((name) => LETTERS[name]).join(' ');
  const kinds = [...new Set(blocks)];
  return kinds.map((kind) => `${kind} × ${blocks.filter((name) => name === kind).length}`).join(', ');
}
