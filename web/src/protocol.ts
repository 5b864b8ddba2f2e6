/**
 * @file What the page and its worker say to each other. The page sends requests, each with a number, and gets one answer
 * to each; events come whenever something happens. All of them are plain data; nothing is done here.
 */

import type { MemoryCalls, SearchCalls, SearchEvent } from './protocol-memory.js';

/** How blocks are written down: mLSTM, sLSTM, LSTM. */
export type Letter = 'm' | 's' | 'l';

/** How text becomes tokens. */
export type TokenizerKind = 'bytes' | 'chars' | 'bpe';

export interface TrainSettings {
  /** The mixer of each residual block, first to last. */
  readonly blocks: readonly Letter[];
  /** Width D of the residual stream. */
  readonly dim: number;
  /** Tokens per sequence. */
  readonly contextLength: number;
  /** Sequences per step. */
  readonly batchSize: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly steps: number;
  readonly seed: number;
  readonly tokenizer: TokenizerKind;
}

/** A text that comes with the page. */
export interface OfferedText {
  readonly name: string;
  readonly url: string;
}

/** The text to train on: a file of the user's, or one that is offered. */
export type TextChoice = File | OfferedText;

export interface GenerateSettings {
  readonly prompt: string;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  readonly maxTokens: number;
}

export interface DeviceReport {
  /** As the adapter names itself. */
  readonly description: string;
  /** Whether the GPU is a program on the CPU, and so slow. */
  readonly isSoftware: boolean;
}

/** Why there is no device: no secure context, no WebGPU in this browser, no adapter, or something else. */
export type DeviceFault = 'insecure' | 'missing' | 'adapter' | 'other';

/** A request's fields, and its answer. */
interface Call<Fields, Answer> {
  readonly fields: Fields;
  readonly answer: Answer;
}

type Nothing = Readonly<Record<string, never>>;

/** Every request by its kind. */
export interface Calls extends MemoryCalls, SearchCalls {
  /** Opens the device, and the model that was kept, if there is one. */
  readonly open: Call<Nothing, DeviceReport | { readonly fault: DeviceFault; readonly message: string }>;
  /** Asks for a GPU once more where none opened after a loss; with it the model is there again. */
  readonly reopen: Call<Nothing, null>;
  /** How large a model of these settings would be. */
  readonly measure: Call<{ readonly settings: TrainSettings }, { readonly parameters: number }>;
  /** Trains a new model. Answered when training ends or is stopped. */
  readonly train: Call<{ readonly text: TextChoice; readonly settings: TrainSettings }, null>;
  /** Goes on where training was stopped, to `steps` in all. */
  readonly resume: Call<{ readonly steps: number }, null>;
  /** Ends training: the status says so at once. Answered when the step in flight has ended. */
  readonly stop: Call<Nothing, null>;
  readonly generate: Call<
    { readonly settings: GenerateSettings },
    { readonly tokens: number; readonly seconds: number }
  >;
  readonly stopGenerating: Call<Nothing, null>;
  /** Opens a model folder, or a run, out of the files that were picked. */
  readonly openModel: Call<{ readonly files: readonly PickedFile[] }, null>;
  /** The files of the model; as one zip archive where asked for. */
  readonly saveModel: Call<{ readonly zip: boolean }, { readonly name: string; readonly files: readonly NamedBlob[] }>;
  /** Forgets the model, here and in the browser's storage. */
  readonly forget: Call<Nothing, null>;
}

export type Kind = keyof Calls;
export type Fields<K extends Kind> = Calls[K]['fields'];
export type Answer<K extends Kind> = Calls[K]['answer'];

/** What goes to the worker. */
export type Request = { [K in Kind]: { readonly kind: K; readonly id: number; readonly fields: Fields<K> } }[Kind];

/** What comes from it. */
export type FromWorker =
  | { readonly kind: 'answer'; readonly id: number; readonly value: Answer<Kind> }
  | { readonly kind: 'failure'; readonly id: number; readonly message: string }
  | { readonly kind: 'event'; readonly event: WorkerEvent };

export interface PickedFile {
  /** Path within the folder that was picked; the name alone of a single file. */
  readonly path: string;
  readonly file: File;
}

export interface NamedBlob {
  readonly name: string;
  readonly blob: Blob;
}

export type Phase = 'idle' | 'preparing' | 'training' | 'stopped' | 'finished';

/** What training has come to. */
export interface TrainingStatus {
  readonly settings: TrainSettings;
  /** Of the text. */
  readonly textName: string;
  readonly step: number;
}

/** The model that the worker holds. */
export interface ModelStatus {
  /** For people: the name of its text, or of the folder it came from. */
  readonly name: string;
  /** "m m s m", or "mlstmLarge × 32". */
  readonly blocks: string;
  readonly dim: number;
  readonly vocabSize: number;
  readonly parameters: number;
  /** Null for a model that was opened. */
  readonly training: TrainingStatus | null;
}

/** A step of training; losses in nats per token. */
export interface StepRow {
  readonly step: number;
  readonly loss: number;
  /** On held-out text, at the steps that evaluate. */
  readonly heldOut?: number;
}

export type WorkerEvent =
  | SearchEvent
  | { readonly kind: 'status'; readonly phase: Phase; readonly model: ModelStatus | null }
  /** Something that takes a while; the share is null where it is not known. Null: it is over. */
  | { readonly kind: 'progress'; readonly progress: { readonly label: string; readonly share: number | null } | null }
  /** All steps so far, when a model begins or comes back. */
  | { readonly kind: 'history'; readonly rows: readonly StepRow[] }
  | {
      readonly kind: 'steps';
      readonly rows: readonly StepRow[];
      readonly tokensPerSecond: number;
      readonly secondsLeft: number;
    }
  | { readonly kind: 'sample'; readonly step: number; readonly text: string }
  /** Something went wrong that no request is answered with, in a sentence. */
  | { readonly kind: 'fault'; readonly message: string }
  /** Whether the page has a GPU: why it has none any more, in a sentence; null where it is there again. */
  | { readonly kind: 'gpu'; readonly problem: string | null }
  /** Further text of the generation that was asked for. */
  | { readonly kind: 'text'; readonly text: string }
  /** Where the model is kept: bytes in the browser's storage, or why it is not. */
  | { readonly kind: 'kept'; readonly bytes: number | null; readonly problem: string | null };
