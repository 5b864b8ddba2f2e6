/** @file Embedding: rows of a table by token. */
import { formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor, type FloatDtype } from '../tensor/tensor.js';

/**
 * y[...] = table[tokens[...]].
 * @param tokens  int32 [...], each in 0..V-1
 * @param table   [V,D], which may be packed
 * @param dtype   how the result is stored
 * @returns       [...,D]
 * @throws TypeError when tokens are not int32, RangeError on a wrong table; the device reports a token out of range.
 */
export function embedding(tokens: Tensor, table: Tensor, dtype: FloatDtype = 'float'): Tensor {
  if (tokens.dtype !== 'int32') throw new TypeError(`embedding: tokens must be int32, got ${tokens.dtype}`);
  if (table.shape.length !== 2) throw new RangeError(`embedding: table must be [V,D], got ${formatShape(table.shape)}`);
  const [V, D] = table.shape as [number, number];
  const { device } = table;
  const N = tokens.size;
  const y = Tensor.output(device, [...tokens.shape, D], dtype);
  if (table.packing !== null) {
    const { format, group } = table.packing;
    device.kernels.embeddingPacked(y.buffer, tokens.buffer, table.buffer, N, D, V, format, group);
    return y;
  }
  device.kernels.embeddingForward(y.buffer, tokens.buffer, table.buffer, N, D, V);
  if (isRecorded([table])) {
    record('embedding', [y], [], ([dy]) => device.kernels.embeddingBackward(table.grad, dy!, tokens.buffer, N, D, V));
  }
  return y;
}
