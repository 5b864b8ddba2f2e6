/**
 * @file What a parameter is before it has memory: its shape, its initial values, how it is trained.
 * A model is first a table of these, so its size is known without allocating it.
 */
import { normal, uniform, type RandomKey } from '../tensor/random.js';
import { size, type Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { orthogonal } from './orthogonal.js';

export type Init =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly mean?: number; readonly std: number }
  | { readonly kind: 'uniform'; readonly bound: number }
  /** What `map` makes of numbers uniform in [low, high). */
  | { readonly kind: 'mapped'; readonly low: number; readonly high: number; readonly map: (u: number) => number }
  /** The same values in every instance, such as a bias spread over heads. */
  | { readonly kind: 'values'; readonly values: readonly number[] }
  /**
   * Orthonormal rows of a matrix, or columns where these are fewer, times a gain; `tall`: also times sqrt(rows / columns) where
   * there are more rows. Takes seconds for widths of 1000, a minute for an output layer of 50,000 tokens.
   */
  | { readonly kind: 'orthogonal'; readonly gain: number; readonly tall?: boolean };

/** @param rate  that of the other parameters in a step */
export type LearningRateRule = (rate: number) => number;

export interface ParameterSpec {
  readonly shape: Shape;
  readonly init: Init;
  /** Whether weight decay applies: matrices yes; biases, norms, embeddings and recurrent matrices no. */
  readonly decay: boolean;
  /** Its learning rate, from that of a step; the same where absent. */
  readonly learningRate?: LearningRateRule;
  /** A matrix that only `linear` and `embedding` read, so that it may be held in a narrower format to run the model. */
  readonly dense?: boolean;
}

/** Specs by name; names of parts are joined with dots ("blocks.0.mixer.up.weight"). */
export type ParameterTable = Readonly<Record<string, ParameterSpec>>;
/** The tensors that belong to a table, by the same names. */
export type ParameterTensors = Readonly<Record<string, Tensor>>;

/** What `map` makes of numbers whose logarithms are uniform between those of the bounds. */
export const logUniform = (low: number, high: number, map: (x: number) => number): Init => ({
  kind: 'mapped',
  low: Math.log(low),
  high: Math.log(high),
  map: (x) => map(Math.exp(x)),
});

export const constant = (value: number): Init => ({ kind: 'constant', value });

/** Standard deviation sqrt(2 / (5 D)) of "small init" (Nguyen & Salazar 2019, arXiv 1910.05895). */
export const smallInit = (D: number): Init => ({ kind: 'normal', std: Math.sqrt(2 / (5 * D)) });

/** Standard deviation 2 / (NB sqrt(D)) of "Wang init" for projections into a residual stream of NB blocks. */
export const wangInit = (D: number, blocks: number): Init => ({ kind: 'normal', std: 2 / blocks / Math.sqrt(D) });

/** The initial values of a parameter. */
export function initialValues(spec: ParameterSpec, key: RandomKey): Float64Array {
  const length = size(spec.shape);
  const { init } = spec;
  switch (init.kind) {
    case 'constant':
      return new Float64Array(length).fill(init.value);
    case 'normal':
      return normal(key, length, init.mean ?? 0, init.std);
    case 'uniform':
      return uniform(key, length, -init.bound, init.bound);
    case 'mapped':
      return uniform(key, length, init.low, init.high).map(init.map);
    case 'values':
      if (init.values.length !== length) {
        throw new RangeError(`initialValues: ${init.values.length} values for a parameter of ${length}`);
      }
      return Float64Array.from(init.values);
    case 'orthogonal': {
      const stretch = init.tall === true ? Math.sqrt(Math.max(1, spec.shape[0]! / spec.shape[1]!)) : 1;
      return orthogonal(key, spec.shape, init.gain * stretch);
    }
  }
}

/** The table with `prefix` and a dot before each name. */
export function prefixed(prefix: string, table: ParameterTable): ParameterTable {
  return Object.fromEntries(Object.entries(table).map(([name, spec]) => [`${prefix}.${name}`, spec]));
}

/** Parts found before: a step of a model asks for the same ones for every token. */
const parts = new WeakMap<ParameterTensors, Map<string, ParameterTensors>>();

/** The tensors whose names begin with `prefix` and a dot, without it. */
export function under(prefix: string, tensors: ParameterTensors): ParameterTensors {
  const known = parts.get(tensors) ?? new Map<string, ParameterTensors>();
  const before = known.get(prefix);
  if (before !== undefined) return before;
  const start = `${prefix}.`;
  const part = Object.fromEntries(
    Object.entries(tensors).flatMap(([name, tensor]) =>
      name.startsWith(start) ? [[name.slice(start.length), tensor]] : [],
    ),
  );
  parts.set(tensors, known.set(prefix, part));
  return part;
}

/** Number of values in a table. */
export const countParameters = (table: ParameterTable): number =>
  Object.values(table).reduce((total, spec) => total + size(spec.shape), 0);
