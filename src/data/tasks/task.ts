/**
 * @file What a synthetic task is: sets of examples that are made on the fly from a key, what a model reads and says, and how
 * its answers are counted. The tasks themselves are the other files of this folder, by name in `registry.ts`.
 */
import type { SequenceEnds } from '../../model/sequence-model.js';
import type { RandomKey } from '../../tensor/random.js';

export interface Example {
  /** Number of steps. */
  readonly T: number;
  /** [T], where the input is tokens. */
  readonly tokens?: Int32Array;
  /** [T,width], where the input is vectors. */
  readonly vectors?: Float32Array;
  /** [T], -1 where nothing is asked; where the output is tokens. */
  readonly targets?: Int32Array;
  /** The class, where the output is one. */
  readonly label?: number;
  /** [T,width], where the output is numbers. */
  readonly values?: Float32Array;
  /** [T], 1 where the numbers count; absent: everywhere. */
  readonly valueMask?: Uint8Array;
  /** The tokens of the other document, where two are compared. */
  readonly second?: Int32Array;
}

/** A set of examples: number n is decided by the set's key and n alone. */
export interface ExampleSet {
  readonly name: string;
  /** Infinity where there is no end of them. */
  readonly size: number;
  /** @param index  from 0 to size - 1 */
  example(index: number): Example;
}

/** Its ends, `input` and `output`, are those of the model that learns it. */
export interface Task extends SequenceEnds {
  readonly name: string;
  /** Steps of the longest example of any set. */
  readonly maxLength: number;
  /** Accuracy of guessing: scaled accuracy is (accuracy - chance) / (1 - chance). Null where the output is numbers. */
  readonly chance: number | null;
  train(key: RandomKey): ExampleSet;
  validation(key: RandomKey): ExampleSet;
  /** Further sets that are measured after training, such as longer sequences. */
  tests(key: RandomKey): readonly ExampleSet[];
  /** An example as text for people. */
  draw(example: Example): string;
}
