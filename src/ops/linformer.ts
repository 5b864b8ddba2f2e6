/** @file Linformer attention: every step over its whole document, projected onto a few rows. It is not causal. */
import { checkShape, formatShape } from '../tensor/shape.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkPositions } from './positions.js';

export interface LinformerInputs {
  /** [B,T,NH*DK] */
  readonly q: Tensor;
  /** [B,T,NH*DK] */
  readonly k: Tensor;
  /** [B,T,NH*DV] */
  readonly v: Tensor;
}

/**
 * softmax(q K'^T / sqrt(DK)) V' with K' = E^T k and V' = E^T v over the steps of the document, rows of E by position.
 * @param E          [P,R], shared by keys, values and heads
 * @param positions  int32 [B,T], of `positions()`; each below P, or the device says so
 * @returns          [B,T,NH*DV]
 * @throws RangeError when the shapes do not fit.
 * @see Wang et al. 2020, arXiv 2006.04768 eq. 7
 */
export function linformer({ q, k, v }: LinformerInputs, E: Tensor, positions: Tensor, heads: number): Tensor {
  if (q.shape.length !== 3) throw new RangeError(`linformer: q must be [B,T,NH*DK], got ${formatShape(q.shape)}`);
  if (E.shape.length !== 2) throw new RangeError(`linformer: E must be [P,R], got ${formatShape(E.shape)}`);
  const [B, T, keys] = q.shape as [number, number, number];
  const [DK, DV] = [keys / heads, v.extent(-1) / heads];
  if (!Number.isInteger(DK) || !Number.isInteger(DV)) {
    throw new RangeError(`linformer: heads must divide the widths of q and v, got ${heads}, ${keys}, ${v.extent(-1)}`);
  }
  checkShape('linformer: k', k.shape, [B, T, keys]);
  checkShape('linformer: v', v.shape, [B, T, heads * DV]);
  checkPositions('linformer', positions, B, T);
  const [P, R] = E.shape as [number, number];
  const { device } = q;
  const y = Tensor.output(device, v.shape);
  const operands = [q.buffer, k.buffer, v.buffer, E.buffer, positions.buffer] as const;
  const sizes = [B, T, heads, DK, DV, P, R, 1 / Math.sqrt(DK)] as const;
  device.kernels.linformerForward(y.buffer, ...operands, ...sizes);
  if (isRecorded([q, k, v, E])) {
    record('linformer', [y], [], ([dy]) => {
      const [dq, dk, dv, dE] = [q, k, v, E].map((x) => (x.requiresGrad ? x.grad : null));
      device.kernels.linformerBackward(dq!, dk!, dv!, dE!, dy!, ...operands, ...sizes);
    });
  }
  return y;
}
