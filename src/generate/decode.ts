/** @file Token generation: reads a prompt in chunks, then decodes step by step with a state of constant size. */
import type { FloatArray } from '../device/device.js';
import { giveWay } from '../event-loop.js';
import type { LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import type { SavedState } from '../model/state-file.js';
import type { Tensor } from '../tensor/tensor.js';
import { hostLogits, readPart } from './read-part.js';
import { Sampler } from './sampler.js';
import type { SamplingOptions } from './sampling-options.js';
import { Stepper } from './stepper.js';
import { promptTokensAtOnce } from './tokens-at-once.js';

export interface DecodeOptions extends SamplingOptions {
  /** Largest number of tokens to generate. Default 256. */
  readonly maxTokens?: number;
  /** Tokens that end the generation; they are not given out. */
  readonly stopTokens?: readonly number[];
  /** What came before the prompt (`Session.snapshot`, `loadState`). It stays the caller's, as it is. */
  readonly state?: SavedState;
  /** Stops between two tokens. The generator then ends without an error. */
  readonly signal?: AbortSignal;
}

/**
 * A sequence that is being read and continued: owns its state.
 * Feed it tokens with `read`; `logits` then holds the prediction for the next one.
 */
export class Session {
  readonly model: LanguageModel;
  readonly #stepper: Stepper;
  #state: ModelState;
  /** Logits [V] after the last token read; null before the first. */
  logits: FloatArray | null = null;
  /** Number of tokens read. */
  position = 0;

  /**
   * @param from  a state of one sequence to go on from, which the session takes over; default: before the first token
   * @throws RangeError when it is a state of several.
   */
  constructor(model: LanguageModel, from?: SavedState) {
    if (from !== undefined && from.sequences !== 1) {
      from.state.dispose(); // it was taken over
      throw new RangeError(`Session: goes on from the state of one sequence, got one of ${from.sequences}`);
    }
    this.model = model;
    this.#stepper = new Stepper(model);
    this.#state = from?.state ?? model.initialState(1);
    this.logits = from?.logits ?? null;
    this.position = from?.tokens ?? 0;
  }

  /** Reads tokens: one by one step, more of them in parts. When the signal aborts it stops between two parts. */
  async read(tokens: Int32Array, signal?: AbortSignal): Promise<void> {
    const most = promptTokensAtOnce(this.model.device);
    let hidden: Tensor | null = null; // of the last token read, while its logits are not known
    try {
      for (let start = 0; start < tokens.length && signal?.aborted !== true; start += most) {
        const part = tokens.subarray(start, start + most);
        hidden?.dispose();
        hidden = null;
        if (part.length === 1) await this.#step(part);
        else hidden = this.#readPart(part);
        if (start + most < tokens.length) await hidden?.data(); // one part at a time in the queue of a GPU
        this.position += part.length;
        if (tokens.length > 1) await giveWay();
      }
      if (hidden !== null) this.logits = await hostLogits(this.model, hidden);
    } finally {
      hidden?.dispose();
    }
  }

  /** One token, with its logits. */
  async #step(token: Int32Array): Promise<void> {
    const { logits, state } = this.#stepper.step(token, this.#state);
    this.#goOn(state);
    this.logits = await logits;
  }

  /** Several tokens. @returns the hidden vector of the last one [1,1,D] */
  #readPart(tokens: Int32Array): Tensor {
    const { readingActivations: activations } = this.model;
    const { hidden, state } = readPart(this.model, tokens, { state: this.#state, outputs: 'last', activations });
    this.#goOn(state);
    return hidden;
  }

  #goOn(state: ModelState): void {
    this.#state.giveWayTo(state);
    this.#state = state;
  }

  /** A copy of where the session is, whose state the caller owns. */
  snapshot(): SavedState {
    return { state: this.#state.clone(), tokens: this.position, sequences: 1, logits: this.logits };
  }

  dispose(): void {
    this.#stepper.dispose();
    this.#state.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Generates tokens after a prompt.
 * @param prompt  at least one token; none where a state with logits came before
 * @throws RangeError for an empty prompt or an option outside of its range.
 */
export async function* decode(
  model: LanguageModel,
  prompt: Int32Array,
  options: DecodeOptions = {},
): AsyncGenerator<number, void, undefined> {
  const { maxTokens = 256, stopTokens = [], state, signal } = options;
  if (prompt.length === 0 && !state?.logits) throw new RangeError('decode: the prompt must have at least one token');
  const sampler = new Sampler(options);
  prompt.forEach((token) => sampler.observe(token));
  using session = new Session(model, state && { ...state, state: state.state.clone() });
  await session.read(prompt, signal);
  for (let count = 0; count < maxTokens; count++) {
    if (signal?.aborted) return;
    const { token } = sampler.sample(session.logits!);
    if (stopTokens.includes(token)) return;
    yield token;
    await giveWay();
    if (count + 1 < maxTokens) await session.read(Int32Array.of(token), signal);
  }
}
