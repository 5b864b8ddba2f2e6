/**
 * @file From logits to a token. What is asked for is applied in this order:
 *
 * 1. logit bias; 2. repetition penalty; 3. presence and frequency penalties; 4. temperature; 5. top-k; 6. top-p;
 * 7. min-p; 8. typical; 9. the draw.
 *
 * Biases and penalties speak of logits, so they come before the temperature scales them. Each filter sees the
 * distribution that the one before left, normalised again. This is the order of Hugging Face transformers; llama.cpp
 * filters before it applies the temperature, so that there top-p and min-p do not depend on it.
 */
import type { FloatArray } from '../device/device.js';
import { draw, randomKey, type RandomKey } from '../tensor/random.js';
import { Candidates } from './candidates.js';
import { largestLogit } from './largest-logit.js';
import { logprobsOf, type TokenLogprob } from './logprobs.js';
import { Penalties } from './penalties.js';
import { resolveSamplingOptions, type ResolvedSamplingOptions, type SamplingOptions } from './sampling-options.js';

export { DivergedError } from './largest-logit.js';

export interface SampledToken {
  readonly token: number;
  /** Of the model, in nats; null where `logprobs` was not asked for. */
  readonly logprob: number | null;
  /** The most probable tokens, most probable first; as many as `logprobs` says. */
  readonly top: readonly TokenLogprob[];
}

/** A draw is never interrupted, so that all samplers can share this memory: [V] each, and the candidates. */
let raw = new Float64Array(0);
let changed = new Float64Array(0);
const candidates = new Candidates();

/** Chooses the tokens of one sequence. */
export class Sampler {
  readonly options: ResolvedSamplingOptions;
  readonly #key: RandomKey;
  readonly #penalties: Penalties;
  #draws = 0;

  /** @throws RangeError naming an option outside of its range. */
  constructor(options: SamplingOptions = {}) {
    this.options = resolveSamplingOptions(options);
    this.#penalties = new Penalties(this.options);
    this.#key = randomKey(this.options.seed);
  }

  /** Tells the sampler of a token of the prompt, for the repetition penalty. */
  observe(token: number): void {
    this.#penalties.observe(token);
  }

  /**
   * The next token; it counts as generated.
   * @param all  logits [V], not changed
   * @throws DivergedError when a logit is not a number, or none is finite.
   * @throws RangeError when the logit bias bans every token, or names one beyond the vocabulary.
   */
  sample(all: FloatArray): SampledToken {
    const logits = all.length > this.options.vocabSize ? all.subarray(0, this.options.vocabSize) : all;
    if (raw.length !== logits.length) raw = new Float64Array(logits.length);
    raw.set(logits);
    const best = largestLogit(raw);
    const token = this.#penalties.active ? this.#chooseChanged() : this.#choose(raw, best);
    this.#penalties.generated(token);
    if (this.options.logprobs === null) return { token, logprob: null, top: [] };
    return { token, ...logprobsOf(raw, raw[best]!, token, this.options.logprobs) };
  }

  #chooseChanged(): number {
    if (changed.length !== raw.length) changed = new Float64Array(raw.length);
    changed.set(raw);
    this.#penalties.apply(changed);
    if (changed.every((logit) => logit === -Infinity)) {
      throw new RangeError('sampling: logitBias bans every token that the model could give; leave one');
    }
    return this.#choose(changed, largestLogit(changed));
  }

  #choose(scores: Float64Array, best: number): number {
    const { temperature, topK, topP, minP, typical } = this.options;
    if (temperature === 0 || topK === 1 || topP === 0) return best;
    candidates.start(scores, scores[best]!, temperature, topK);
    if (topP < 1) candidates.topP(topP);
    if (minP > 0) candidates.minP(minP);
    if (typical < 1) candidates.typical(typical);
    return candidates.pick(draw(this.#key, this.#draws++));
  }
}
