/**
 * @file Examples of a task as a batch: rows filled up to the longest of them. What fills up is a document of its own, so that
 * a mixer that looks both ways does not see it from within the example.
 */
import { permute } from '../permutation.js';
import { fold, type RandomKey } from '../../tensor/random.js';
import type { Example, ExampleSet } from './task.js';

export interface TaskBatch {
  readonly B: number;
  /** Steps of the longest example. */
  readonly T: number;
  /** Steps of each example [B]. */
  readonly lengths: Int32Array;
  /** [B,T], 1 where an example or what fills up behind it begins. */
  readonly reset: Uint8Array;
  /** [B,T] */
  readonly tokens?: Int32Array;
  /** [B,T,width] */
  readonly vectors?: Float32Array;
  /** [B,T], -1 where nothing is asked. */
  readonly targets?: Int32Array;
  /** [B] */
  readonly labels?: Int32Array;
  /** [B,T,width] */
  readonly values?: Float32Array;
  /** [B,T], 1 where the numbers count; 0 in what fills up. */
  readonly valueMask?: Uint8Array;
  /** The other document of each example, where two are compared. */
  readonly second?: Pick<TaskBatch, 'B' | 'T' | 'lengths' | 'reset'> & { readonly tokens: Int32Array };
}

/** @throws RangeError for a batch without examples. */
export function batchOf(examples: readonly Example[]): TaskBatch {
  const [first] = examples;
  if (first === undefined) throw new RangeError('batchOf: a batch has at least one example');
  const B = examples.length;
  const frame = frameOf(examples.map(({ T }) => T));
  const { T } = frame;
  const rows = <A extends Int32Array | Float32Array | Uint8Array>(
    empty: A,
    width: number,
    row: (example: Example) => ArrayLike<number> | undefined,
  ): A => {
    examples.forEach((example, b) => empty.set(row(example)!, b * T * width));
    return empty;
  };
  const wide = (values: Float32Array | undefined): number => (values === undefined ? 0 : values.length / first.T);
  const [inWidth, outWidth] = [wide(first.vectors), wide(first.values)];
  return {
    B,
    ...frame,
    ...(first.tokens && { tokens: rows(new Int32Array(B * T), 1, ({ tokens }) => tokens) }),
    ...(first.vectors && { vectors: rows(new Float32Array(B * T * inWidth), inWidth, ({ vectors }) => vectors) }),
    ...(first.targets && { targets: rows(new Int32Array(B * T).fill(-1), 1, ({ targets }) => targets) }),
    ...(first.label !== undefined && { labels: Int32Array.from(examples, ({ label }) => label!) }),
    ...(first.values && {
      values: rows(new Float32Array(B * T * outWidth), outWidth, ({ values }) => values),
      valueMask: rows(
        new Uint8Array(B * T),
        1,
        ({ valueMask, T: steps }) => valueMask ?? new Uint8Array(steps).fill(1),
      ),
    }),
    ...(first.second && { second: secondOf(examples.map(({ second }) => second!)) }),
  };
}

function secondOf(documents: readonly Int32Array[]): NonNullable<TaskBatch['second']> {
  const frame = frameOf(documents.map(({ length }) => length));
  const tokens = new Int32Array(documents.length * frame.T);
  documents.forEach((document, b) => tokens.set(document, b * frame.T));
  return { B: documents.length, ...frame, tokens };
}

function frameOf(steps: readonly number[]): Pick<TaskBatch, 'T' | 'lengths' | 'reset'> {
  const T = Math.max(...steps);
  const reset = new Uint8Array(steps.length * T);
  steps.forEach((length, b) => {
    reset[b * T] = 1;
    if (length < T) reset[b * T + length] = 1;
  });
  return { T, lengths: Int32Array.from(steps), reset };
}

/**
 * Batch number `index` of a set: of one without end the next B examples, of a finite one those of an epoch in an order of its
 * own, the last batch of an epoch running on into the next one.
 */
export function trainingBatch(set: ExampleSet, key: RandomKey, index: number, B: number): TaskBatch {
  const indices = Array.from({ length: B }, (_, b) => {
    const n = index * B + b;
    if (set.size === Infinity) return n;
    const epoch = Math.floor(n / set.size);
    return permute(fold(key, epoch), n % set.size, set.size);
  });
  return batchOf(indices.map((n) => set.example(n)));
}

/** All examples of a set in order, or the first `most`, B at a time. */
export function* batchesOf(set: ExampleSet, B: number, most = Infinity): Generator<TaskBatch> {
  const count = Math.min(set.size, most);
  for (let from = 0; from < count; from += B) {
    yield batchOf(Array.from({ length: Math.min(B, count - from) }, (_, b) => set.example(from + b)));
  }
}
