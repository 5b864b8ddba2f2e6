/**
 * @file Reference kernels of positions within documents and of the rotary embedding that turns by them. What attends by
 * positions is in `attention.ts`.
 */
import type { Kernels } from '../kernels.js';
import { floats, ints, optionalFlags, optionalFloats } from './buffer.js';

/** Adds to `to` the pairs of each row of `from`, turned by their positions: forwards with sign 1, backwards with -1. */
function turn(
  to: Float64Array,
  from: Float64Array,
  positions: Int32Array,
  [N, NH, DH]: readonly [number, number, number],
  theta: number,
  sign: number,
): void {
  const half = DH / 2;
  for (let n = 0; n < N; n++) {
    for (let d = 0; d < half; d++) {
      const angle = sign * positions[n]! * theta ** ((-2 * d) / DH);
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let head = 0; head < NH; head++) {
        const at = (n * NH + head) * DH + d;
        const [a, b] = [from[at]!, from[at + half]!];
        to[at]! += a * cos - b * sin;
        to[at + half]! += b * cos + a * sin;
      }
    }
  }
}

export const positions = {
  positions(y, positionOut, positionIn, reset, B, T) {
    const [Y, Out, In] = [ints(y, B * T), optionalFloats(positionOut, B), optionalFloats(positionIn, B)];
    const R = optionalFlags(reset, B * T);
    for (let b = 0; b < B; b++) {
      let position = In?.[b] ?? 0;
      for (let t = 0; t < T; t++) {
        if (R?.[b * T + t]) position = 0;
        Y[b * T + t] = position;
        position += 1;
      }
      if (Out) Out[b] = position;
    }
  },

  ropeForward(y, x, positions, N, NH, DH, theta) {
    const Y = floats(y, N * NH * DH);
    Y.fill(0, 0, N * NH * DH);
    turn(Y, floats(x, N * NH * DH), ints(positions, N), [N, NH, DH], theta, 1);
  },

  ropeBackward(dx, dy, positions, N, NH, DH, theta) {
    // y is x turned, so dx is dy turned back.
    turn(floats(dx, N * NH * DH), floats(dy, N * NH * DH), ints(positions, N), [N, NH, DH], theta, -1);
  },
} satisfies Partial<Kernels>;
