/** @file From logits to a token: penalties, temperature, top-k, top-p, min-p, and a draw by a counter-based key. */
import { draw, randomKey, type RandomKey } from '../tensor/random.js';
import type { FloatArray } from '../device/device.js';

export interface SamplingOptions {
  /** Logits are divided by it; 0 takes the most probable token. Default 1. */
  readonly temperature?: number;
  /** Keep the k most probable tokens; 0 for all. Default 0. */
  readonly topK?: number;
  /** Keep the most probable tokens that together hold this probability (Holtzman et al., arXiv 1904.09751). Default 1. */
  readonly topP?: number;
  /** Drop tokens less probable than this share of the most probable one (arXiv 2407.01082). Default 0. */
  readonly minP?: number;
  /** Logits of tokens seen before are divided by it if positive, else multiplied (arXiv 1909.05858). Default 1: off. */
  readonly repetitionPenalty?: number;
  /** Decides the draws: same seed, same device, same text. Default 0. */
  readonly seed?: number;
}

/** The model gives no finite logit: its parameters or state are beyond all bounds. */
export class DivergedError extends Error {
  override readonly name = 'DivergedError';
}

const RANGES = {
  temperature: [0, Infinity],
  topK: [0, Infinity],
  topP: [0, 1],
  minP: [0, 1],
  repetitionPenalty: [Number.MIN_VALUE, Infinity],
} as const;

const DEFAULTS = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

export class Sampler {
  readonly options: Required<SamplingOptions>;
  readonly #key: RandomKey;
  readonly #seen = new Set<number>();
  #draws = 0;

  /** @throws RangeError naming an option outside of its range. */
  constructor(options: SamplingOptions = {}) {
    this.options = { ...DEFAULTS, ...options };
    for (const [name, [low, high]] of Object.entries(RANGES)) {
      const value = this.options[name as keyof typeof RANGES];
      if (!(value >= low && value <= high)) {
        throw new RangeError(
          `sampling: ${name} must be from ${low === Number.MIN_VALUE ? 'above 0' : low} to ${high}, got ${value}`,
        );
      }
    }
    this.#key = randomKey(this.options.seed);
  }

  /** Tells the sampler of a token of the prompt, for the repetition penalty. */
  observe(token: number): void {
    this.#seen.add(token);
  }

  /**
   * The next token.
   * @param logits  [V]
   * @throws DivergedError when no logit is finite.
   */
  sample(logits: FloatArray): number {
    const token = this.#choose(Float64Array.from(logits));
    this.observe(token);
    return token;
  }

  #choose(logits: Float64Array): number {
    const { temperature, topK, topP, minP, repetitionPenalty } = this.options;
    if (repetitionPenalty !== 1) {
      for (const token of this.#seen) {
        const logit = logits[token]!;
        logits[token] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
      }
    }
    const best = argmax(logits);
    if (!Number.isFinite(logits[best]!))
      throw new DivergedError('sampling: no logit is finite; the model has diverged');
    if (temperature === 0) return best;

    let candidates = probabilities(logits, best, temperature);
    if (topK > 0) candidates = candidates.slice(0, topK);
    if (minP > 0) candidates = candidates.filter(({ weight }) => weight >= minP);
    if (topP < 1) candidates = nucleus(candidates, topP);
    return pick(candidates, draw(this.#key, this.#draws++));
  }
}

interface Candidate {
  readonly token: number;
  /** Probability over that of the most probable token. */
  readonly weight: number;
}

function argmax(logits: Float64Array): number {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (!(logits[token]! <= logits[best]!)) best = token;
  return best;
}

/** All tokens, most probable first; ties in the order of their numbers. */
function probabilities(logits: Float64Array, best: number, temperature: number): Candidate[] {
  const top = logits[best]!;
  const candidates = Array.from(logits, (logit, token) => ({ token, weight: Math.exp((logit - top) / temperature) }));
  return candidates.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight || a.token - b.token);
}

function nucleus(candidates: Candidate[], topP: number): Candidate[] {
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0);
  let held = 0;
  const end = candidates.findIndex(({ weight }) => (held += weight) >= topP * total);
  return candidates.slice(0, end + 1);
}

function pick(candidates: readonly Candidate[], fraction: number): number {
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0);
  let rest = fraction * total;
  for (const { token, weight } of candidates) {
    rest -= weight;
    if (rest < 0) return token;
  }
  return candidates.at(-1)!.token;
}
