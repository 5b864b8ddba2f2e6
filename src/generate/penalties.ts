/** @file What changes single logits before a draw: the bias of the request, and penalties for tokens that were there. */
import type { ResolvedSamplingOptions } from './sampling-options.js';

/** Counts the tokens of one sequence. Of the prompt only the repetition penalty knows. */
export class Penalties {
  readonly #options: ResolvedSamplingOptions;
  readonly #bias: readonly (readonly [token: number, bias: number])[];
  /** Tokens of the prompt and generated ones. */
  readonly #seen = new Set<number>();
  /** How often each token was generated. */
  readonly #generated = new Map<number, number>();
  /** Whether anything is ever changed. */
  readonly active: boolean;

  constructor(options: ResolvedSamplingOptions) {
    this.#options = options;
    this.#bias = Object.entries(options.logitBias).map(([token, bias]) => [Number(token), bias] as const);
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = options;
    this.active = this.#bias.length > 0 || repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  }

  observe(token: number): void {
    this.#seen.add(token);
  }

  generated(token: number): void {
    this.#seen.add(token);
    this.#generated.set(token, (this.#generated.get(token) ?? 0) + 1);
  }

  /** Changes logits [V] in place. @throws RangeError when the bias names a token beyond the vocabulary. */
  apply(logits: Float64Array): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#options;
    for (const [token, bias] of this.#bias) {
      if (token >= logits.length) {
        throw new RangeError(`sampling: logitBias names token ${token}, but there are only ${logits.length} tokens`);
      }
      logits[token]! += bias;
    }
    if (repetitionPenalty !== 1) {
      for (const token of this.#seen) {
        const logit = logits[token]!;
        logits[token] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      }
    }
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [token, count] of this.#generated) logits[token]! -= presencePenalty + count * frequencyPenalty;
    }
  }
}
