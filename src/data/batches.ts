/**
 * @file Batches of a dataset: [B,T] tokens with their targets and resets. Which text is in batch `step` depends on the
 * seed and on `step` alone, so a run that resumes at step n sees what it would have seen; nothing is remembered.
 */
import { draw, fold, type RandomKey, randomKey } from '../tensor/random.js';
import { permute } from './permutation.js';
import type { TextPart } from './text-part.js';

/** tokens, targets and reset are [B,T], row-major. */
export interface Batch {
  readonly B: number;
  readonly T: number;
  readonly tokens: Int32Array;
  /** The token that follows each one; -1 where there is none to learn. */
  readonly targets: Int32Array;
  /** 1 where what came before is to be forgotten: a document begins, or a row that does not go on from the last batch. */
  readonly reset: Uint8Array;
}

export interface BatchOptions {
  readonly B: number;
  readonly T: number;
  /** Default 0. */
  readonly seed?: number;
  /**
   * - shuffle (default): windows of T tokens side by side, each once per epoch, in an order of its own in each epoch.
   * - random: windows at random places, as in nanoGPT.
   * - stream: row b reads its own B-th of the text in order; step s goes on where s - 1 stopped, so state can be carried.
   */
  readonly order?: 'shuffle' | 'random' | 'stream';
}

export interface Batches {
  readonly B: number;
  readonly T: number;
  /** Steps in which each window is seen once (shuffle), or the text once (stream), or as many tokens as it has. */
  readonly stepsPerEpoch: number;
  /** @throws RangeError unless step is a whole number from 0 on. */
  batchAt(step: number): Batch;
}

/** Where window `row` of batch `step` begins, and whether it goes on from the same row of the batch before. */
type Place = (step: number, row: number) => { readonly start: number; readonly goesOn: boolean };

/**
 * The batches of one part of a dataset.
 * @throws RangeError if B, T or the seed is not possible, or the text is too short for a single window.
 */
export function createBatches(part: TextPart, options: BatchOptions): Batches {
  const { B, T, seed = 0, order = 'shuffle' } = options;
  checkSizes(B, T);
  const lanes = order === 'stream' ? B : 1;
  const length = part.tokens.length;
  if (length - 1 < lanes * T) throw tooShort(part, lanes, T);
  const key = fold(randomKey(seed), `batches ${order}`);
  const [place, stepsPerEpoch] = { shuffle, random, stream }[order](key, length, B, T);
  const batchAt = (step: number): Batch => {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new RangeError(`batchAt: step must be a whole number from 0 on, got ${step}`);
    const batch = emptyBatch(B, T);
    for (let row = 0; row < B; row++) {
      const { start, goesOn } = place(step, row);
      fillRow(batch, row, part, start, T);
      if (!goesOn) batch.reset[row * T] = 1;
    }
    return batch;
  };
  return { B, T, stepsPerEpoch, batchAt };
}

/**
 * Each epoch cuts the text into windows from a place of its own on, so that borders between windows move. Every epoch
 * has the same number of windows; the few tokens that are left over at the ends change with the place.
 */
function shuffle(key: RandomKey, length: number, B: number, T: number): [Place, number] {
  const windows = Math.max(1, Math.floor((length - T) / T));
  const phases = length - windows * T;
  const place: Place = (step, row) => {
    const n = step * B + row;
    const epoch = Math.floor(n / windows);
    const ofEpoch = fold(key, epoch);
    const window = permute(ofEpoch, n % windows, windows);
    return { start: Math.floor(draw(ofEpoch, 0) * phases) + window * T, goesOn: false };
  };
  return [place, Math.ceil(windows / B)];
}

function random(key: RandomKey, length: number, B: number, T: number): [Place, number] {
  const place: Place = (step, row) => ({ start: Math.floor(draw(key, step * B + row) * (length - T)), goesOn: false });
  return [place, Math.ceil((length - 1) / (B * T))];
}

/** Each pass over the text begins at a place of its own, as the last part of a lane that no window fits is left out. */
function stream(key: RandomKey, length: number, B: number, T: number): [Place, number] {
  const lane = Math.floor((length - 1) / B);
  const steps = Math.floor(lane / T);
  const place: Place = (step, row) => {
    const pass = Math.floor(step / steps);
    const phase = Math.floor(draw(key, pass) * (lane - steps * T + 1));
    return { start: row * lane + phase + (step % steps) * T, goesOn: step % steps > 0 };
  };
  return [place, steps];
}

function checkSizes(B: number, T: number): void {
  for (const [name, value] of Object.entries({ B, T })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new RangeError(`batches: ${name} must be a whole number of at least 1, got ${value}`);
  }
}

function tooShort({ name, tokens, meta }: TextPart, lanes: number, T: number): RangeError {
  const longest = Math.floor((tokens.length - 1) / lanes);
  const rows =
    lanes > 1
      ? `${lanes} rows of ${T} tokens in text order need ${lanes * T + 1}`
      : `a window of ${T} tokens and its target need ${T + 1}`;
  const remedy =
    longest >= 1
      ? `give more text, or a context length of at most ${longest}`
      : lanes > 1
        ? 'give more text, or fewer rows'
        : 'give more text';
  return new RangeError(
    `batches: the ${name} part has ${tokens.length} tokens (${meta.bytes} bytes of text), but ${rows}; ${remedy}`,
  );
}

const emptyBatch = (B: number, T: number): Batch => ({
  B,
  T,
  tokens: new Int32Array(B * T),
  targets: new Int32Array(B * T).fill(-1),
  reset: new Uint8Array(B * T),
});

/** Puts `count` tokens from `start` on, with targets and resets at documents, at the start of a row. */
function fillRow(batch: Batch, row: number, part: TextPart, start: number, count: number): void {
  const { T, tokens, targets, reset } = batch;
  const at = row * T;
  part.tokens.copy(tokens, at, start, count);
  targets.set(tokens.subarray(at + 1, at + count), at);
  targets[at + count - 1] = part.tokens.at(start + count);
  for (let k = firstAtLeast(part, start); k < part.documents.length; k++) {
    const t = part.documents.at(k) - start;
    if (t > count) break;
    if (t < count) reset[at + t] = 1;
    // What begins the next document does not follow from this one, unless it is the token that ends this one.
    if (t > 0 && targets[at + t - 1] !== part.eosId) targets[at + t - 1] = -1;
  }
}

/** The first document that begins at `position` or after it. */
function firstAtLeast({ documents }: TextPart, position: number): number {
  let low = 0;
  let high = documents.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (documents.at(middle) < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

export interface EvaluationBatches extends Iterable<Batch> {
  /** How many batches there are. */
  readonly length: number;
  batchAt(index: number): Batch;
}

/**
 * The whole part, once, in order: windows of T tokens side by side, the last one filled up without targets, so that
 * every token but the first is a target exactly once.
 * @param options.batches  at most so many batches, of windows evenly spread over the text; 0 or none for all.
 * @throws RangeError if B or T is not possible, or there is nothing to evaluate on.
 */
export function evaluationBatches(
  part: TextPart,
  options: { readonly B: number; readonly T: number; readonly batches?: number },
): EvaluationBatches {
  const { B, T, batches = 0 } = options;
  checkSizes(B, T);
  const targets = part.tokens.length - 1;
  if (targets < 1) {
    throw new RangeError(
      `batches: the ${part.name} part has ${part.tokens.length} tokens, so there is nothing to evaluate on; hold out more text (validationFraction)`,
    );
  }
  const all = Math.ceil(targets / T);
  const windows = batches > 0 ? Math.min(all, batches * B) : all;
  const length = Math.ceil(windows / B);
  const batchAt = (index: number): Batch => {
    const batch = emptyBatch(B, T);
    for (let row = 0; row < B; row++) {
      batch.reset[row * T] = 1;
      const n = index * B + row;
      if (n >= windows) continue;
      const start = Math.floor((n * all) / windows) * T;
      fillRow(batch, row, part, start, Math.min(T, targets - start));
    }
    return batch;
  };
  return {
    length,
    batchAt,
    *[Symbol.iterator]() {
      for (let index = 0; index < length; index++) yield batchAt(index);
    },
  };
}
