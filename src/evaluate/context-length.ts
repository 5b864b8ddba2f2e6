/** @file Perplexity as a function of how many tokens of context a model has read. */
import type { LanguageModel } from '../model/language-model.js';
import { RowReader } from './losses.js';
import { Counter, scoreOf, sum, type Score, type Tally } from './score.js';
import { SlidingWindow } from './sliding-window.js';
import type { EvaluateOptions, TokenText } from './token-text.js';

/** Perplexity where a context of at most `length` tokens is read before each prediction. */
export interface LengthScore extends Score {
  readonly length: number;
}

/** Mean over all tokens that are predicted from `from` to `to` tokens of context, in chunks of the longest length. */
export interface PositionScore {
  readonly from: number;
  readonly to: number;
  readonly predicted: number;
  readonly loss: number;
  readonly perplexity: number;
}

export interface LengthScores {
  readonly lengths: readonly LengthScore[];
  readonly positions: readonly PositionScore[];
}

/**
 * Perplexity as a function of the context length. Each document is cut into blocks of the longest length (what is left
 * at its end is not used); for each length the blocks are cut into chunks that are read from nothing. So all lengths
 * predict the same tokens, and what differs is the context alone.
 * @param lengths  tokens read before the state is reset, each from 1
 * @throws RangeError when no document is as long as the longest length.
 */
export async function perplexityByLength(
  model: LanguageModel,
  text: TokenText,
  lengths: readonly number[],
  options: EvaluateOptions = {},
): Promise<LengthScores> {
  const ordered = checkLengths(lengths);
  const longest = ordered.at(-1)!;
  const counter = new Counter();
  const scorer = new BlockScorer(model, ordered, options);
  // Neighbouring blocks share a token: the last target of one is the first input of the next.
  let blocks = new SlidingWindow(longest + 1, longest);
  let documentTokens = 0;
  let longestDocument = 0;
  for await (const piece of text.pieces()) {
    if (piece.start) {
      blocks = new SlidingWindow(longest + 1, longest);
      documentTokens = 0;
      if (text.begin !== null) blocks.push(Int32Array.of(text.begin)).next(); // never a block by itself
    }
    counter.read(piece);
    documentTokens += piece.tokens.length;
    longestDocument = Math.max(longestDocument, documentTokens);
    for (const { tokens } of blocks.push(piece.tokens)) await scorer.add(tokens);
    options.onProgress?.({ bytes: piece.bytes, tokens: 0 });
  }
  if (scorer.blocks === 0) {
    throw new RangeError(
      `evaluation: the longest document has ${longestDocument} tokens, too few for the length of ${longest}; ` +
        'give a longer text or shorter lengths',
    );
  }
  return scorer.finish(counter);
}

function checkLengths(lengths: readonly number[]): number[] {
  const bad = lengths.find((length) => !Number.isSafeInteger(length) || length < 1);
  if (lengths.length > 0 && bad === undefined) return [...new Set(lengths)].sort((a, b) => a - b);
  throw new RangeError(`evaluation: lengths must be whole numbers from 1, got ${bad ?? 'none'}`);
}

/** Adds up the losses of blocks, cut into chunks of each length. */
class BlockScorer {
  blocks = 0;
  readonly #lengths: readonly number[];
  readonly #longest: number;
  readonly #rows: RowReader;
  /** Sums of losses by length, and of the longest by position. */
  readonly #nats: Map<number, number>;
  readonly #byPosition: Float64Array;

  constructor(model: LanguageModel, lengths: readonly number[], options: EvaluateOptions) {
    this.#lengths = lengths;
    this.#longest = lengths.at(-1)!;
    this.#rows = new RowReader(model, options);
    this.#nats = new Map(lengths.map((length) => [length, 0]));
    this.#byPosition = new Float64Array(this.#longest);
  }

  /** @param block  one token more than the longest length */
  async add(block: Int32Array): Promise<void> {
    this.blocks++;
    for (const length of this.#lengths) {
      for (let from = 0; from < this.#longest; from += length) {
        const to = Math.min(from + length, this.#longest);
        await this.#rows.add(block.subarray(from, to), block.subarray(from + 1, to + 1), (losses) => {
          this.#nats.set(length, this.#nats.get(length)! + sum(losses));
          if (length === this.#longest) losses.forEach((loss, k) => (this.#byPosition[k]! += loss));
        });
      }
    }
  }

  async finish(text: Tally): Promise<LengthScores> {
    await this.#rows.finish();
    const predicted = this.blocks * this.#longest;
    const lengths = [...this.#nats].map(([length, nats]) => ({ length, ...scoreOf({ ...text, predicted, nats }) }));
    return { lengths, positions: positionScores(this.#byPosition, this.blocks) };
  }
}

/** Positions in bins that grow by half an octave, so that each point of the curve is a mean over enough tokens. */
function positionScores(nats: Float64Array, perPosition: number): PositionScore[] {
  const scores: PositionScore[] = [];
  for (let from = 1, k = 1; from <= nats.length; k++) {
    const to = Math.min(nats.length, Math.max(from, Math.round(2 ** (k / 2))));
    const predicted = (to - from + 1) * perPosition;
    const loss = sum(nats.subarray(from - 1, to)) / predicted;
    scores.push({ from, to, predicted, loss, perplexity: Math.exp(loss) });
    from = to + 1;
  }
  return scores;
}
