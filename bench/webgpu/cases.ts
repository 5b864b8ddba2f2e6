/**
 * @file What the benches of the webgpu device compute: sizes, inputs from seeds, and what is right. It runs no library and
 * needs neither Node nor a page.
 */
import { fold, normal, randomKey, uniform } from '../../src/tensor/random.js';

export interface MatmulSizes {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** c [M,N] = a [M,K] b [K,N]. */
export interface MatmulInputs extends MatmulSizes {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

interface Training {
  readonly targets: Int32Array;
  readonly learningRate: number;
}

export interface MlpSizes {
  readonly N: number;
  readonly D: number;
  readonly H: number;
  readonly V: number;
}

/** A language model of two layers: cross-entropy of relu(x w1^T) w2^T; x [N,D], w1 [H,D], w2 [V,H], targets [N]. */
export interface MlpInputs extends MlpSizes, Training {
  readonly x: Float32Array;
  readonly w1: Float32Array;
  readonly w2: Float32Array;
}

export interface LstmSizes {
  readonly B: number;
  readonly T: number;
  readonly D: number;
  readonly H: number;
  readonly V: number;
}

/**
 * A language model of one LSTM: gates i f z o = x input^T + h recurrent^T + bias, cross-entropy of h output^T; x [B,T,D],
 * input [4,H,D], recurrent [4,H,H], bias [4,H], output [V,H], targets [B,T].
 */
export interface LstmInputs extends LstmSizes, Training {
  readonly x: Float32Array;
  readonly input: Float32Array;
  readonly recurrent: Float32Array;
  readonly bias: Float32Array;
  readonly output: Float32Array;
}

export type Case = { readonly id: string; readonly title: string; readonly target: number } & (
  | { readonly kind: 'matmul'; readonly sizes: MatmulSizes }
  | { readonly kind: 'mlp'; readonly sizes: MlpSizes }
  | { readonly kind: 'lstm'; readonly sizes: LstmSizes }
);

const KEY = randomKey(7);
const floats = (name: string, length: number, std: number): Float32Array =>
  Float32Array.from(normal(fold(KEY, name), length, 0, std));
const classes = (length: number, V: number): Int32Array =>
  Int32Array.from(uniform(fold(KEY, 'targets'), length, 0, V), Math.floor);

export const matmulInputs = ({ M, N, K }: MatmulSizes): MatmulInputs => ({
  ...{ M, N, K },
  a: floats('a', M * K, 1),
  b: floats('b', K * N, 1),
});

export const mlpInputs = ({ N, D, H, V }: MlpSizes): MlpInputs => ({
  ...{ N, D, H, V },
  x: floats('x', N * D, 1),
  w1: floats('w1', H * D, D ** -0.5),
  w2: floats('w2', V * H, H ** -0.5),
  targets: classes(N, V),
  learningRate: 0.1,
});

export const lstmInputs = ({ B, T, D, H, V }: LstmSizes): LstmInputs => ({
  ...{ B, T, D, H, V },
  x: floats('x', B * T * D, 1),
  input: floats('input', 4 * H * D, D ** -0.5),
  recurrent: floats('recurrent', 4 * H * H, H ** -0.5),
  bias: floats('bias', 4 * H, 1),
  output: floats('output', V * H, H ** -0.5),
  targets: classes(B * T, V),
  learningRate: 0.5,
});

/** Floating-point operations of one call, counting those of matrix products. */
export function flopsOf({ kind, sizes }: Case): number {
  switch (kind) {
    case 'matmul':
      return 2 * sizes.M * sizes.N * sizes.K;
    case 'mlp': // The first layer has no gradient of its input.
      return 2 * sizes.N * sizes.H * (2 * sizes.D + 3 * sizes.V);
    case 'lstm':
      return 2 * sizes.B * sizes.T * sizes.H * (2 * 4 * sizes.D + 3 * 4 * sizes.H + 3 * sizes.V);
  }
}

const matmulCase = (M: number, N: number, K: number): Case => ({
  id: `matmul-${M}x${N}x${K}`,
  title: `matrix product, ${M}x${N}x${K}, float32`,
  target: 1,
  kind: 'matmul',
  sizes: { M, N, K },
});
const mlpCase = (sizes: MlpSizes): Case => ({
  id: 'mlp',
  title: `training step of a language model of two layers, ${sizes.D} -> ${sizes.H} -> ${sizes.V}, ${sizes.N} tokens`,
  target: 2,
  kind: 'mlp',
  sizes,
});
const lstmCase = (sizes: LstmSizes): Case => ({
  id: 'lstm',
  title: `training step of an LSTM of width ${sizes.H}, batch ${sizes.B} of ${sizes.T} steps, ${sizes.V} classes`,
  target: 2,
  kind: 'lstm',
  sizes,
});

/** Small enough for a GPU in software, or large enough for one in hardware. */
export const casesFor = (isSoftware: boolean): readonly Case[] =>
  isSoftware
    ? [
        matmulCase(256, 256, 256),
        matmulCase(512, 512, 512),
        matmulCase(253, 125, 509),
        matmulCase(8, 512, 512),
        mlpCase({ N: 512, D: 128, H: 512, V: 256 }),
        lstmCase({ B: 8, T: 32, D: 64, H: 64, V: 64 }),
      ]
    : [
        matmulCase(1024, 1024, 1024),
        matmulCase(4096, 4096, 4096),
        matmulCase(2045, 765, 3069),
        matmulCase(8, 4096, 4096),
        mlpCase({ N: 2048, D: 256, H: 1024, V: 512 }),
        lstmCase({ B: 16, T: 64, D: 128, H: 128, V: 128 }),
      ];

/**
 * RMS(error) / RMS of some rows of c [M,N] against sums in float64.
 * @param every  one row of so many is compared; by default about eight in all
 */
export function matmulError(
  { M, N, K, a, b }: MatmulInputs,
  c: ArrayLike<number>,
  every = Math.max(1, Math.floor(M / 8)),
): number {
  let [error, size] = [0, 0];
  const sums = new Float64Array(N);
  for (let m = 0; m < M; m += every) {
    sums.fill(0);
    for (let k = 0; k < K; k++) {
      const factor = a[m * K + k]!;
      for (let n = 0; n < N; n++) sums[n]! += factor * b[k * N + n]!;
    }
    for (let n = 0; n < N; n++) {
      error += (c[m * N + n]! - sums[n]!) ** 2;
      size += sums[n]! ** 2;
    }
  }
  const relative = Math.sqrt(error / size);
  return Number.isNaN(relative) ? Infinity : relative;
}
