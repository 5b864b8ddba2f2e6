/** @file What is asked of the engine, what it answers, and where a request stands meanwhile. It computes nothing. */
import type { FloatArray } from '../device/device.js';
import type { ModelState } from '../model/state.js';
import type { SavedState } from '../model/state-file.js';
import { Channel } from './channel.js';
import { Sampler, type SampledToken } from './sampler.js';
import type { SamplingOptions } from './sampling-options.js';

export interface EngineRequest {
  /** The prompt; may be empty where `state` has logits. */
  readonly tokens: Int32Array;
  /** What came before the prompt: the state of one sequence. It stays the caller's, as it is. */
  readonly state?: SavedState;
  readonly sampling?: SamplingOptions;
  /** Completions of the one prompt, which is read once; completion k draws with seed + k. Default 1. */
  readonly n?: number;
  /** Largest number of tokens of a completion; 0 only reads the prompt. */
  readonly maxTokens: number;
  /** Tokens that end a completion; they are not given out. */
  readonly stopTokens?: readonly number[];
  readonly signal?: AbortSignal;
  /** Give out the log-probability of each prompt token after the first, with this many alternatives (0 to 20). */
  readonly promptLogprobs?: number;
  /** Numbers of prompt tokens after which a copy of the state is given out. */
  readonly keepStatesAt?: readonly number[];
  /** Give out the state at the end of each completion. */
  readonly keepFinalState?: boolean;
}

export type EngineEvent =
  /** With `promptLogprobs`: one per prompt token from the second on (from the first, where a state with logits came before). */
  | { readonly kind: 'prompt'; readonly tokens: readonly SampledToken[] }
  /** A state that was asked for; whoever reads the event owns it. `tokens` counts those before the prompt as well. */
  | { readonly kind: 'state'; readonly saved: SavedState }
  /** A token of completion `index`. */
  | { readonly kind: 'token'; readonly index: number; readonly sample: SampledToken }
  /**
   * Completion `index` has ended. With `keepFinalState` the state, which the reader owns: it has read all tokens that were
   * given out, but for the last one where the reason is "length" (`saved.tokens` tells).
   */
  | {
      readonly kind: 'end';
      readonly index: number;
      readonly reason: 'stop' | 'length' | 'aborted';
      readonly saved: SavedState | null;
    };

/** A request in the engine. */
export class Running {
  readonly request: EngineRequest;
  readonly channel: Channel<EngineEvent>;
  /** Tokens before the prompt. */
  readonly base: number;
  /** Set when the reader has left. */
  left = false;
  /** Completions that have not ended. */
  open: number;

  constructor(request: EngineRequest) {
    this.request = request;
    this.base = request.state?.tokens ?? 0;
    this.open = request.n ?? 1;
    this.channel = new Channel(() => (this.left = true), disposeEvent);
  }

  get cancelled(): boolean {
    return this.left || this.request.signal?.aborted === true;
  }
}

/** Frees what an event holds. */
function disposeEvent(event: EngineEvent): void {
  if (event.kind === 'state' || event.kind === 'end') event.saved?.state.dispose();
}

/** A prompt that is being read: its state, and how far. */
export interface Reading {
  readonly running: Running;
  state: ModelState;
  position: number;
  /** Logits [V] after the last token read; null before the first. */
  logits: FloatArray | null;
  readonly prompt: SampledToken[];
}

/** One completion that is being decoded. */
export class Sequence {
  readonly running: Running;
  readonly index: number;
  readonly sampler: Sampler;
  /** Tokens that its state has read, those before the prompt included. */
  read: number;
  /** Tokens given out. */
  count = 0;
  /** The token that comes next into the state. */
  last = -1;

  constructor(running: Running, index: number) {
    const { sampling = {}, tokens } = running.request;
    this.running = running;
    this.index = index;
    this.sampler = new Sampler({ ...sampling, seed: (sampling.seed ?? 0) + index });
    for (const token of tokens) this.sampler.observe(token);
    this.read = running.base + tokens.length;
  }
}

/** @throws RangeError naming a number that is not whole, or too small. */
export function checkWhole(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new RangeError(`engine: ${name} must be a whole number of at least ${least}, got ${value}`);
}

/**
 * Checks a request before it is queued.
 * @param V  tokens of the vocabulary
 * @throws RangeError naming what cannot be.
 */
export function checkRequest(
  { tokens, state, n = 1, maxTokens, sampling, promptLogprobs, keepStatesAt = [] }: EngineRequest,
  V: number,
): void {
  checkWhole('n', n, 1);
  checkWhole('maxTokens', maxTokens, 0);
  for (const at of keepStatesAt) {
    if (Number.isInteger(at) && at >= 1 && at <= tokens.length) continue;
    throw new RangeError(`engine: keepStatesAt must be from 1 to the ${tokens.length} tokens of the prompt, got ${at}`);
  }
  if (tokens.length === 0 && !state?.logits) throw new RangeError('engine: the prompt must have at least one token');
  if (state !== undefined && state.sequences !== 1) {
    throw new RangeError(`engine: goes on from the state of one sequence, got one of ${state.sequences}`);
  }
  const at = tokens.findIndex((token) => token < 0 || token >= V);
  if (at !== -1) throw new RangeError(`engine: token ${tokens[at]} at position ${at} is not in the vocabulary of ${V}`);
  void new Sampler({ ...sampling, ...(promptLogprobs === undefined ? {} : { logprobs: promptLogprobs }) });
}
