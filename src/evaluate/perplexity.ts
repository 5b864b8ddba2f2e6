/**
 * @file How well a model predicts a text: in one pass with the state carried, or in sliding windows. What the length of
 * the context does is in `context-length.ts`.
 */
import type { LanguageModel } from '../model/language-model.js';
import { LossReader, RowReader } from './losses.js';
import { Counter, scoreOf, sum, type Score } from './score.js';
import { SlidingWindow, type Window } from './sliding-window.js';
import type { EvaluateOptions, TokenText } from './token-text.js';

/**
 * Reads each document once, from its beginning to its end, with the state carried all the way: every token is predicted
 * from everything before it, which is exact for a recurrent model at any length.
 * @throws RangeError when no token can be predicted. @throws the signal's reason when it aborts.
 */
export async function wholePerplexity(
  model: LanguageModel,
  text: TokenText,
  options: EvaluateOptions = {},
): Promise<Score> {
  const counter = new Counter();
  let reader: LossReader | null = null;
  let last: number | null = null;
  try {
    for await (const piece of text.pieces()) {
      if (piece.start) {
        reader?.[Symbol.dispose]();
        reader = new LossReader(model);
        last = text.begin;
      }
      counter.read(piece);
      const { inputs, targets } = shifted(last, piece.tokens);
      const bytesPerToken = piece.bytes / Math.max(1, targets.length);
      const onProgress: EvaluateOptions['onProgress'] = ({ tokens }) =>
        options.onProgress?.({ bytes: tokens * bytesPerToken, tokens });
      counter.predict(targets.length, sum(await reader!.read(inputs, targets, { ...options, onProgress })));
      last = piece.tokens.at(-1) ?? last;
    }
  } finally {
    reader?.[Symbol.dispose]();
  }
  return scoreOf(counter);
}

/** Each token with the one after it as its target; `before` comes before all. */
function shifted(before: number | null, tokens: Int32Array): { inputs: Int32Array; targets: Int32Array } {
  if (before === null) return { inputs: tokens.subarray(0, -1), targets: tokens.subarray(1) };
  const inputs = new Int32Array(tokens.length);
  inputs.set(tokens.subarray(0, -1), 1);
  if (tokens.length > 0) inputs[0] = before;
  return { inputs, targets: tokens };
}

export interface WindowOptions extends EvaluateOptions {
  /** Tokens in a window. */
  readonly window: number;
  /** Tokens by which the window moves. */
  readonly stride: number;
}

/**
 * The sliding window of models with a bounded context, as in "Perplexity of fixed-length models" of the transformers
 * documentation: each window is read from nothing, and of its tokens those are scored that no window before had. A token
 * that is first in its window has no context and is not scored.
 * @throws RangeError for a bad window or stride, or when no token can be predicted.
 */
export async function windowPerplexity(model: LanguageModel, text: TokenText, options: WindowOptions): Promise<Score> {
  const { window, stride } = options;
  if (!Number.isSafeInteger(window) || window < 2) {
    throw new RangeError(`evaluation: the window must be a whole number from 2, got ${window}`);
  }
  if (!Number.isSafeInteger(stride) || stride < 1 || stride > window) {
    throw new RangeError(
      `evaluation: the stride must be a whole number from 1 to the window of ${window}, got ${stride}`,
    );
  }
  const counter = new Counter();
  const rows = new RowReader(model, options);
  const add = ({ tokens, fresh }: Window): Promise<void> => {
    const targets = tokens.slice(1);
    targets.fill(-1, 0, Math.max(0, targets.length - fresh));
    const scored = Math.min(fresh, targets.length);
    return rows.add(tokens.subarray(0, -1), targets, (losses) => counter.predict(scored, sum(losses)));
  };
  let windows = new SlidingWindow(window, stride);
  for await (const piece of text.pieces()) {
    if (piece.start) {
      for (const last of windows.end()) await add(last);
      windows = new SlidingWindow(window, stride);
      if (text.begin !== null) for (const full of windows.push(Int32Array.of(text.begin))) await add(full);
    }
    counter.read(piece);
    for (const full of windows.push(piece.tokens)) await add(full);
    options.onProgress?.({ bytes: piece.bytes, tokens: 0 });
  }
  for (const last of windows.end()) await add(last);
  await rows.finish();
  return scoreOf(counter);
}
