/**
 * @file What the HTTP thread and the model's thread say to each other. Everything here is copied between threads: plain
 * values only. The model's thread alone has the tokenizer, so texts travel, not tokens.
 */
import type { DeviceChoice } from '../device/open.js';
import type { LoadOptions } from '../generate/text-model.js';
import type { SamplingOptions } from '../generate/sampling-options.js';

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
}

export type JobPrompt =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'tokens'; readonly tokens: readonly number[] }
  | { readonly kind: 'chat'; readonly messages: readonly ChatMessage[] };

/** A completion that is asked for. */
export interface Job {
  readonly prompt: JobPrompt;
  /** Go on from this kept state. */
  readonly stateId: string | null;
  /** Keep the state after the completion under an id of its own. */
  readonly keepState: boolean;
  readonly n: number;
  readonly maxTokens: number;
  readonly sampling: SamplingOptions;
  readonly stop: readonly string[];
  /** Go on behind the end of a text. */
  readonly ignoreEos: boolean;
  /** Give the prompt out as well, with its log-probabilities where `sampling` asks for them. */
  readonly echo: boolean;
}

/** A token with its text; log-probabilities where they were asked for. */
export interface TokenText {
  readonly text: string;
  /** The token's bytes; null where it has none of its own. */
  readonly bytes: readonly number[] | null;
  readonly logprob: number | null;
  readonly top: readonly {
    readonly text: string;
    readonly bytes: readonly number[] | null;
    readonly logprob: number;
  }[];
}

export type JobEvent =
  | {
      readonly kind: 'started';
      readonly promptTokens: number;
      /** Tokens of the prompt that were not read again. */
      readonly cachedTokens: number;
      /** The prompt's text and tokens, with `echo`. */
      readonly prompt: { readonly text: string; readonly tokens: readonly TokenText[] } | null;
    }
  /** Text that is certain now, of completion `index`; the tokens since the last piece. */
  | { readonly kind: 'piece'; readonly index: number; readonly text: string; readonly tokens: readonly TokenText[] }
  | {
      readonly kind: 'end';
      readonly index: number;
      readonly reason: 'stop' | 'length' | 'aborted';
      readonly stateId: string | null;
    }
  | { readonly kind: 'done'; readonly completionTokens: number }
  | { readonly kind: 'failed'; readonly status: number; readonly message: string; readonly param: string | null };

/** A kept state, as the API shows it. */
export interface StateInfo {
  readonly id: string;
  readonly created: number;
  readonly tokens: number;
  readonly bytes: number;
}

export type Command =
  | { readonly kind: 'run'; readonly job: Job }
  | { readonly kind: 'keepState'; readonly prompt: JobPrompt; readonly from: string | null }
  | { readonly kind: 'listStates' }
  | { readonly kind: 'getState'; readonly id: string }
  | { readonly kind: 'deleteState'; readonly id: string }
  /** Writes a kept state to a file of the private folder; answers with its path. */
  | { readonly kind: 'exportState'; readonly id: string };

export interface ModelStats {
  readonly waiting: number;
  readonly reading: number;
  readonly decoding: number;
  readonly prefilled: number;
  readonly generated: number;
  readonly reused: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly cacheStates: number;
  readonly cacheBytes: number;
  readonly cacheDiskBytes: number;
  readonly keptStates: number;
}

/** To the model's thread. */
export type ToModel =
  | { readonly kind: 'command'; readonly id: number; readonly command: Command }
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'stats'; readonly id: number }
  | { readonly kind: 'close' };

/** From the model's thread. Events of one tick travel together. */
export type FromModel =
  | { readonly kind: 'ready'; readonly model: ServedModel }
  | { readonly kind: 'broken'; readonly message: string }
  | { readonly kind: 'events'; readonly events: readonly { readonly id: number; readonly event: JobEvent }[] }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refused'; readonly id: number; readonly status: number; readonly message: string }
  | { readonly kind: 'closed' };

/** What the HTTP thread knows of the model. */
export interface ServedModel {
  readonly name: string;
  readonly parameters: number;
  readonly vocabSize: number;
  readonly device: string;
  readonly hasChatTemplate: boolean;
}

export interface ModelOptions {
  readonly folder: string;
  readonly name: string;
  readonly load: Omit<LoadOptions, 'device' | 'onProgress'> & { readonly device?: DeviceChoice };
  readonly maxBatch: number;
  /** Default 128, on a GPU 1024. */
  readonly prefillChunk?: number;
  readonly maxPromptTokens: number;
  /** Bounds of the states that are kept for reuse, in bytes. */
  readonly stateMemory: number;
  readonly stateDisk: number;
  /** States that clients may keep by id. */
  readonly maxKeptStates: number;
}
