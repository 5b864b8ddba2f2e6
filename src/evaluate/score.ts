/** @file How well a text was predicted, from sums: nats per token, perplexity, bits per byte. It computes no loss. */
import type { EncodedPiece } from '../data/encode-files.js';
import type { FloatArray } from '../device/device.js';

/** What was counted while a text was read. Sums, so that those of several texts can be added. */
export interface Tally {
  readonly documents: number;
  /** Tokens of the text, and its bytes as UTF-8. */
  readonly tokens: number;
  readonly bytes: number;
  /** Tokens that were predicted, and the sum of their losses -log p in nats. */
  readonly predicted: number;
  readonly nats: number;
}

export interface Score extends Tally {
  /** nats / predicted. */
  readonly loss: number;
  /** exp(loss), per token: comparable only between models of one tokenizer. */
  readonly perplexity: number;
  /** loss / log 2 * tokens / bytes: nats / log 2 / bytes where every token was predicted. Comparable between all models. */
  readonly bitsPerByte: number;
}

/** Adds up what is read and predicted. */
export class Counter implements Tally {
  documents = 0;
  tokens = 0;
  bytes = 0;
  predicted = 0;
  nats = 0;

  read({ start, tokens, bytes }: EncodedPiece): void {
    if (start) this.documents++;
    this.tokens += tokens.length;
    this.bytes += bytes;
  }

  predict(count: number, nats: number): void {
    this.predicted += count;
    this.nats += nats;
  }
}

export const addTallies = (a: Tally, b: Tally): Tally => ({
  documents: a.documents + b.documents,
  tokens: a.tokens + b.tokens,
  bytes: a.bytes + b.bytes,
  predicted: a.predicted + b.predicted,
  nats: a.nats + b.nats,
});

export function sum(values: FloatArray): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** @throws RangeError when no token was predicted: a text of one token says nothing about the next. */
export function scoreOf(tally: Tally): Score {
  const { documents, tokens, bytes, predicted, nats } = tally;
  if (predicted === 0)
    throw new RangeError(`evaluation: of ${tokens} tokens none could be predicted; give a longer text`);
  const loss = nats / predicted;
  const bitsPerByte = (loss / Math.LN2) * (tokens / bytes);
  return { documents, tokens, bytes, predicted, nats, loss, perplexity: Math.exp(loss), bitsPerByte };
}

/** Means over texts in which each counts the same, whatever its length; perplexity is exp of the mean loss. */
export interface MacroAverage {
  readonly loss: number;
  readonly perplexity: number;
  readonly bitsPerByte: number;
}

export function macroAverage(scores: readonly Score[]): MacroAverage {
  const mean = (of: (score: Score) => number): number =>
    scores.reduce((sum, score) => sum + of(score), 0) / scores.length;
  const loss = mean((score) => score.loss);
  return { loss, perplexity: Math.exp(loss), bitsPerByte: mean((score) => score.bitsPerByte) };
}
