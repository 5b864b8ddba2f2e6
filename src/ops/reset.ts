/** @file Document borders in packed rows: where a sequence op forgets what came before. */
import { formatShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';

/** uint8 [B,T], 1 where a new document begins; null where rows hold one document that may continue a carried state. */
export type Reset = Tensor | null;

/** @throws RangeError or TypeError when `reset` is not uint8 [B,T]. */
export function checkReset(op: string, reset: Reset, B: number, T: number): void {
  if (reset === null) return;
  if (reset.dtype !== 'uint8') throw new TypeError(`${op}: reset must be uint8, got ${reset.dtype}`);
  if (reset.shape.length === 2 && reset.shape[0] === B && reset.shape[1] === T) return;
  throw new RangeError(`${op}: reset must be [${B},${T}], got ${formatShape(reset.shape)}`);
}
