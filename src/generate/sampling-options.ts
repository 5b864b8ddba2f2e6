/** @file What can be asked of a sampler: the options, their defaults and ranges. How each is done is in the files beside. */

export interface SamplingOptions {
  /** Logits are divided by it; 0 takes the most probable token. Default 1. */
  readonly temperature?: number;
  /** Keep the k most probable tokens; 0 for all. Default 0. */
  readonly topK?: number;
  /** Keep the most probable tokens that together hold this probability (Holtzman et al., arXiv 1904.09751). Default 1. */
  readonly topP?: number;
  /** Drop tokens less probable than this share of the most probable one (arXiv 2407.01082). Default 0. */
  readonly minP?: number;
  /**
   * Keep the tokens whose information is nearest to the entropy, until they hold this probability: locally typical
   * sampling (Meister et al., arXiv 2202.00666). Default 1: off.
   */
  readonly typical?: number;
  /**
   * Logits of tokens of the prompt or the text so far are divided by it if positive, else multiplied (Keskar et al.,
   * arXiv 1909.05858). Default 1: off.
   */
  readonly repetitionPenalty?: number;
  /** Taken from the logit of each token generated before, once. The prompt does not count. From -2 to 2, default 0. */
  readonly presencePenalty?: number;
  /** Taken from the logit of a token for each time it was generated. The prompt does not count. From -2 to 2, default 0. */
  readonly frequencyPenalty?: number;
  /** Added to the logits of these tokens: from -100 to 100, or -Infinity, which bans the token. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /**
   * Only the first so many tokens can be chosen: a model may have room for more than its tokenizer has. Their probabilities
   * then are those among these. Default: all.
   */
  readonly vocabSize?: number;
  /** Decides the draws: same seed, same logits, same tokens. Default 0. */
  readonly seed?: number;
  /**
   * Report the log-probability of the chosen token and of this many most probable ones, 0 to 20. They are those of the
   * model: log-softmax of its logits before any other option. Default: none are computed.
   */
  readonly logprobs?: number;
}

/** With all defaults filled in. */
export type ResolvedSamplingOptions = Required<Omit<SamplingOptions, 'logprobs'>> & {
  readonly logprobs: number | null;
};

/** Largest number of alternatives that `logprobs` reports: the bound of the OpenAI chat API. */
export const MAX_LOGPROBS = 20;

/** For people, where neither they nor the model's generation_config.json say otherwise. */
export const DEFAULT_SAMPLING = { temperature: 0.8, topP: 0.95 } as const satisfies SamplingOptions;

const RANGES = {
  temperature: [0, Number.MAX_VALUE],
  topK: [0, Number.MAX_SAFE_INTEGER],
  topP: [0, 1],
  minP: [0, 1],
  typical: [Number.MIN_VALUE, 1],
  repetitionPenalty: [Number.MIN_VALUE, Number.MAX_VALUE],
  presencePenalty: [-2, 2],
  frequencyPenalty: [-2, 2],
  vocabSize: [1, Number.MAX_SAFE_INTEGER],
} as const;

const DEFAULTS = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  typical: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: {},
  vocabSize: Number.MAX_SAFE_INTEGER,
  seed: 0,
  logprobs: null,
};

/** Fills in what is missing. @throws RangeError naming an option outside of its range. */
export function resolveSamplingOptions(options: SamplingOptions): ResolvedSamplingOptions {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const resolved: ResolvedSamplingOptions = { ...DEFAULTS, ...given };
  for (const [name, [low, high]] of Object.entries(RANGES)) {
    const value = resolved[name as keyof typeof RANGES];
    if (!(value >= low && value <= high)) throw outOfRange(name, low, high, value);
  }
  if (!Number.isInteger(resolved.topK))
    throw new RangeError(`sampling: topK must be a whole number, got ${resolved.topK}`);
  const { logprobs } = resolved;
  if (logprobs !== null && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= MAX_LOGPROBS)) {
    throw new RangeError(`sampling: logprobs must be a whole number from 0 to ${MAX_LOGPROBS}, got ${logprobs}`);
  }
  for (const [token, bias] of Object.entries(resolved.logitBias)) checkBias(token, bias);
  return resolved;
}

function outOfRange(name: string, low: number, high: number, value: number): RangeError {
  const least = low === Number.MIN_VALUE ? 'above 0' : `from ${low}`;
  const range = high >= Number.MAX_SAFE_INTEGER ? `a finite number, ${least}` : `${least} to ${high}`;
  return new RangeError(`sampling: ${name} must be ${range}, got ${value}`);
}

function checkBias(token: string, bias: number): void {
  if (!/^(0|[1-9]\d*)$/.test(token)) {
    throw new RangeError(`sampling: logitBias is by token number, got ${JSON.stringify(token)}`);
  }
  if (bias !== -Infinity && !(bias >= -100 && bias <= 100)) {
    throw new RangeError(`sampling: logitBias of token ${token} must be from -100 to 100, or -Infinity, got ${bias}`);
  }
}
