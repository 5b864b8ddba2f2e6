/**
 * @file Lower bounds of forget gates that rise with depth (HGRN, arXiv 2311.04823, and HGRN2). One table
 * [blocks of the kind, D] serves all blocks: softmax over its rows makes shares, of which the bound of block i is the sum of
 * rows 1 to i, so that block 0 has the bound 0. The first block has the table as its parameter, and leaves the others theirs.
 */
import { constant, type ParameterTable, type ParameterTensors } from '../layers/parameter.js';
import { activate, add, subtract } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';
import type { MixerPlace, SharedValues } from './mixer.js';

type PlaceOfKind = Pick<MixerPlace, 'dim' | 'kindIndex' | 'kindBlocks'>;

/** The table, at zero: bounds start at the share of blocks that lie before. A single block needs none. */
export const boundTable = ({ dim, kindIndex, kindBlocks }: PlaceOfKind): ParameterTable =>
  kindIndex > 0 || kindBlocks === 1 ? {} : { bounds: { shape: [kindBlocks, dim], init: constant(0), decay: false } };

/**
 * The bound l of a block as its logit log(l / (1 - l)) [D]; null for the first block, whose bound is 0, and which leaves the
 * logits of the others in `shared`.
 * @throws Error where the first block has left nothing.
 */
export function lowerBound(
  kind: string,
  p: ParameterTensors,
  { kindIndex }: PlaceOfKind,
  shared: SharedValues | undefined,
): Tensor | null {
  const nameOf = (index: number): string => `${kind}.bound.${index}`;
  if (kindIndex === 0) {
    const table = p['bounds'];
    if (table !== undefined && shared !== undefined) {
      boundLogits(table).forEach((logit, k) => shared.set(nameOf(k + 1), logit));
    }
    return null;
  }
  const bound = shared?.get(nameOf(kindIndex));
  if (bound === undefined)
    throw new Error(`${kind}: the lower bound comes from the first ${kind} block; run that before`);
  return bound;
}

/**
 * Logits [D] of the bounds of blocks 1, 2, ... from the table [blocks,D]. With shares softmax(table) the logit of block i is
 * log(e^row_1 + ... + e^row_i) - log(e^row_0 + e^row_(i+1) + ...), which neither overflows nor loses a bound near 0 or 1.
 */
function boundLogits(table: Tensor): Tensor[] {
  const [count, D] = table.shape as [number, number];
  const [first, ...others] = Array.from({ length: count }, (_, k) => table.rows(k, k + 1).reshape([D]));
  const within = runningLogSumExp(others);
  const without = runningLogSumExp([first!, ...others.slice(1).toReversed()]);
  return within.map((inside, k) => subtract(inside, without[others.length - 1 - k]!));
}

/** log(e^a_0 + ... + e^a_k) for every k, equal shapes. */
function runningLogSumExp(terms: readonly Tensor[]): Tensor[] {
  const sums: Tensor[] = [];
  for (const term of terms) {
    const before = sums.at(-1);
    // log(e^a + e^b) = a + softplus(b - a)
    sums.push(before === undefined ? term : add(before, activate(subtract(term, before), 'softplus')));
  }
  return sums;
}
