/** @file Whole completions of prompts, many at once: texts with their tokens, log-probabilities and the reason they ended. */
import type { SavedState } from '../model/state-file.js';
import { Engine } from './engine.js';
import type { SampledToken } from './sampler.js';
import type { SamplingOptions } from './sampling-options.js';
import type { TextModel } from './text-model.js';
import { TextStream } from './text-stream.js';

export interface CompleteOptions extends SamplingOptions {
  /** Largest number of tokens of a completion. Default 256. */
  readonly maxTokens?: number;
  /** Texts that end a completion; they are not given out. */
  readonly stop?: readonly string[];
  /** Tokens that end a completion. Default: as the makers of the model say, else the end-of-text token. */
  readonly stopTokens?: readonly number[];
  /** Completions of each prompt, which is read once; completion k draws with seed + k. Default 1. */
  readonly n?: number;
  /** What came before every prompt. It stays the caller's. */
  readonly state?: SavedState;
  /** Sequences that are decoded together. Default 8. */
  readonly maxBatch?: number;
  readonly signal?: AbortSignal;
}

export interface Completion {
  /** Which of the prompts, and which of its completions. */
  readonly prompt: number;
  readonly index: number;
  readonly text: string;
  /** The tokens of the text, those of a stop string included; with log-probabilities where they were asked for. */
  readonly tokens: readonly SampledToken[];
  readonly finishReason: 'stop' | 'length' | 'aborted';
  readonly promptTokens: number;
}

/**
 * Completes prompts of any lengths, together: each gets what it would get alone.
 * @returns  the completions of the first prompt, then those of the second, and so on
 * @throws RangeError when an option is outside of its range, or a prompt is empty and there is no end-of-text token.
 */
export async function complete(
  text: TextModel,
  prompts: readonly string[],
  options: CompleteOptions = {},
): Promise<Completion[]> {
  const { n = 1, maxBatch = Math.max(8, n) } = options;
  const engine = new Engine(text.model, { maxBatch });
  const failure = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal;
  try {
    const all = prompts.map((prompt, k) => completeOne(text, engine, prompt, k, { ...options, signal }));
    return (await Promise.all(all)).flat();
  } catch (error) {
    failure.abort(); // the others are not wanted either
    throw error;
  } finally {
    await engine.close();
  }
}

async function completeOne(
  text: TextModel,
  engine: Engine,
  prompt: string,
  promptIndex: number,
  options: CompleteOptions,
): Promise<Completion[]> {
  const {
    maxTokens = 256,
    stop = [],
    stopTokens = text.stopTokens,
    n = 1,
    state,
    maxBatch: _,
    signal,
    ...sampling
  } = options;
  const tokens = text.promptTokens(prompt, state);
  const outputs = Array.from({ length: n }, () => ({
    stream: new TextStream(text.tokenizer, { stop, prompt: tokens }),
    text: '',
    tokens: [] as SampledToken[],
    reason: 'stop' as Completion['finishReason'],
  }));
  const events = engine.submit({
    tokens,
    ...(state && { state }),
    sampling: { ...text.sampling, ...sampling },
    n,
    maxTokens,
    stopTokens,
    ...(signal && { signal }),
  });
  for await (const event of events) {
    if (event.kind === 'end') {
      const output = outputs[event.index]!;
      if (!output.stream.stopped) output.reason = event.reason;
    } else if (event.kind === 'token') {
      const output = outputs[event.index]!;
      if (output.stream.stopped) continue; // its other completions are not done
      output.tokens.push(event.sample);
      output.text += output.stream.push(event.sample.token).text;
      if (outputs.every(({ stream }) => stream.stopped)) break;
    }
  }
  return outputs.map(({ stream, text: given, tokens: sampled, reason }, index) => ({
    prompt: promptIndex,
    index,
    text: given + stream.end(),
    tokens: sampled,
    finishReason: reason,
    promptTokens: tokens.length,
  }));
}
