/**
 * @file What the views "Memory" and "Search" and the worker say to each other: requests with their answers, as `protocol.ts`
 * takes them up, and the events of the search. Plain data; nothing is done here.
 */

/** A request's fields, and its answer. */
interface Call<Fields, Answer> {
  readonly fields: Fields;
  readonly answer: Answer;
}

type Nothing = Readonly<Record<string, never>>;

/** Half-lives in tokens over all tokens of a text, and all units of an sLSTM head: a tenth is below `low`, a tenth above `high`. */
export interface HalfLifeRange {
  readonly low: number;
  readonly median: number;
  readonly high: number;
}

export interface BlockSummary {
  /** 'other': a mixer without gates of this kind, which has no heads here. */
  readonly kind: 'mlstm' | 'slstm' | 'other';
  /** Name of the mixer. */
  readonly mixer: string;
  readonly heads: readonly HalfLifeRange[];
}

export interface TextTrace {
  /** Text of each token [T]; '' where a character is not complete yet. */
  readonly tokens: readonly string[];
  /** Tokens of the text that were left out at its end. */
  readonly leftOut: number;
  readonly blocks: readonly BlockSummary[];
}

interface HeadSeries {
  /**
   * The weight with which the read at step t (row) returned what step s (column) wrote [T,T]; 0 for s > t. Signed for an mLSTM,
   * shares of 1 for an sLSTM.
   */
  readonly reads: Float32Array;
}

/** One value per token [T] each. */
export interface MlstmSeries extends HeadSeries {
  readonly kind: 'mlstm';
  /** The forget gate, and the half-life that it implies, in tokens. */
  readonly forget: Float32Array;
  readonly halfLife: Float32Array;
  /** ln of the input gate. */
  readonly logInput: Float32Array;
  /** ln f summed from the first token on. */
  readonly logForgetSum: Float32Array;
  /** The gates as they act on the stabilised memory. */
  readonly i: Float32Array;
  readonly f: Float32Array;
  /** The stabiliser. */
  readonly m: Float32Array;
  /** Norms of C and n, and what each token added to C. */
  readonly memory: Float32Array;
  readonly normaliser: Float32Array;
  readonly written: Float32Array;
  /** What the result of each read is divided by. */
  readonly denominator: Float32Array;
}

/** Tokens by units [T,DH] each. */
export interface SlstmSeries extends HeadSeries {
  readonly kind: 'slstm';
  readonly units: number;
  readonly forget: Float32Array;
  readonly halfLife: Float32Array;
  readonly logInput: Float32Array;
  /** What is written, and the output gate. */
  readonly z: Float32Array;
  readonly o: Float32Array;
  readonly c: Float32Array;
  readonly n: Float32Array;
  readonly m: Float32Array;
  readonly h: Float32Array;
}

/** The matrix memory after a token. */
export interface MemoryMatrix {
  /** DK and DV. */
  readonly rows: number;
  readonly columns: number;
  /** [DK,DV] */
  readonly C: Float32Array;
  /** [DK] */
  readonly n: Float32Array;
}

/** Requests of the view "Memory". Blocks, heads and tokens are counted from 0. */
export interface MemoryCalls {
  /** Runs the model over a text and keeps what its memories did. */
  readonly readMemory: Call<{ readonly text: string }, TextTrace>;
  /** One head over the text that was read. */
  readonly memoryHead: Call<{ readonly block: number; readonly head: number }, MlstmSeries | SlstmSeries>;
  /** The matrix of an mLSTM head after a token. */
  readonly memoryMatrix: Call<{ readonly block: number; readonly head: number; readonly token: number }, MemoryMatrix>;
}

export interface SearchSettings {
  /** Steps of the longest sequence, the key included. */
  readonly maxLength: number;
  readonly dim: number;
  readonly learningRate: number;
  readonly seed: number;
}

/** The two models that are compared. */
export const SEARCH_MODELS = ['lstm', 'slstm'] as const;
export type SearchModel = (typeof SEARCH_MODELS)[number];
export type PerModel<Value> = Readonly<Record<SearchModel, Value>>;

/** Mean squared errors over sequences that neither model was trained on. */
export interface SearchErrors {
  readonly all: number;
  /** At the steps where a closer match arrives, and at the others. */
  readonly revised: number;
  readonly kept: number;
}

/** One sequence, and what each model says at each step. */
export interface DrawnSequence {
  readonly number: number;
  /** Steps T, the key included, which is step 0 and has no answer. */
  readonly steps: number;
  /** (x, y, value) of each step [T,3]; the key's value counts for nothing. */
  readonly vectors: Float32Array;
  /** The right value after each step [T]. */
  readonly right: Float32Array;
  /** Whether a closer match arrives at the step [T]. */
  readonly closer: readonly boolean[];
  /** Of each model [T]. */
  readonly answers: PerModel<Float32Array>;
}

/** Requests of the view "Search". */
export interface SearchCalls {
  /** Makes two new models and trains them; answered at once, with how large they are. */
  readonly startSearch: Call<{ readonly settings: SearchSettings }, { readonly parameters: PerModel<number> }>;
  /** Goes on where training was stopped; answered at once. */
  readonly resumeSearch: Call<Nothing, null>;
  /** Ends training after the step in flight. Answered when it has ended. */
  readonly stopSearch: Call<Nothing, null>;
  /** What the models say now to a sequence that they were not trained on. */
  readonly drawSequence: Call<{ readonly number: number }, DrawnSequence>;
}

export interface SearchStep {
  readonly step: number;
  /** Mean squared error of each model on the batch of the step, which is the same for both. */
  readonly losses: PerModel<number>;
}

export type SearchEvent =
  | { readonly kind: 'searchSteps'; readonly steps: readonly SearchStep[]; readonly sequencesPerSecond: number }
  | { readonly kind: 'searchErrors'; readonly step: number; readonly errors: PerModel<SearchErrors> }
  /** Training has come to an end; with the reason where it failed. */
  | { readonly kind: 'searchEnded'; readonly problem: string | null };
