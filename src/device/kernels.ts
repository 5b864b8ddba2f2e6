/**
 * @file The device contract: every kernel the library may call, by name, with named and shaped arguments.
 * It holds no implementation and no autograd; `reference/` defines what each kernel computes.
 *
 * Rules that hold for every kernel:
 * - outputs come first, inputs next, sizes and options last; the C header `native/include/xl.h` has the same order;
 * - tensors are contiguous and row-major, shapes stand in [brackets];
 * - a forward kernel overwrites its outputs, a backward kernel **adds** into gradients (names begin with `d`);
 * - a `null` input is absent (no bias, zero state, no resets), a `null` output is not wanted;
 * - float data has the device's precision: float64 on `reference`, float32 elsewhere. Where the device has bf16, activations
 *   (`xl_data` in xl.h: inputs, outputs and their gradients, and the matrices of products) may be stored so, all of a call
 *   alike, but for a product of bf16 whose result is float; parameters, states, gates of the mLSTM, statistics and losses
 *   stay float, and so does all arithmetic.
 *
 * Letters: B batch, T time steps, D width, NH heads, DH head width (DK of keys, DV of values), V vocabulary,
 * N rows, G groups; gates in the order i f z o; states c n m h.
 */
import type { StateSpaceKernels } from './kernels-state-space.js';

/** `bf16` is how activations, and matrices that they meet in a product, may be stored where the device `hasBf16`. */
export type Dtype = 'float' | 'bf16' | 'int32' | 'uint8';

/** Memory on one device; opaque to everything above `device/`. */
export interface DeviceBuffer {
  readonly dtype: Dtype;
  /** Number of elements. */
  readonly length: number;
}

/**
 * Elementwise functions a kernel can apply. GELU is the exact one, x * Phi(x); softplus is log(1 + e^x), logsigmoid is
 * -softplus(-x), eluplus1 is x + 1 above 0 and e^x below (arXiv 2006.16236 eq. 7), relu2 is max(x, 0)^2,
 * sine is sin(x) for |x| up to 1e6.
 */
export const Activation = {
  none: 0,
  silu: 1,
  gelu: 2,
  sigmoid: 3,
  tanh: 4,
  relu: 5,
  exp: 6,
  softplus: 7,
  logsigmoid: 8,
  eluplus1: 9,
  relu2: 10,
  sine: 11,
} as const;
export type Activation = (typeof Activation)[keyof typeof Activation];

/** Input gate of the mLSTM: i = exp(i~) with a running maximum m, or i = sigmoid(i~) with m = 0 throughout. */
export const InputGate = { exponential: 0, sigmoid: 1 } as const;
export type InputGate = (typeof InputGate)[keyof typeof InputGate];

/** How a matrix that is only read is stored; the layouts are in `packing.ts`. */
export const WeightFormat = { bf16: 0, f16: 1, int8: 2, int4: 3 } as const;
export type WeightFormat = (typeof WeightFormat)[keyof typeof WeightFormat];

/**
 * How the decay of a linear attention is given: one number per head or one per key channel, of every step or the same at
 * all steps. `logDecay` is [B,T,NH], [B,T,NH,DK], [NH] or [NH,DK].
 */
export const Decay = { scalar: 0, vector: 1, constantScalar: 2, constantVector: 3 } as const;
export type Decay = (typeof Decay)[keyof typeof Decay];

type Buf = DeviceBuffer;
type Opt = DeviceBuffer | null;

/** Floats per (b, t, unit) that `slstmForward` keeps for its backward pass; their layout is the device's own. */
export const SLSTM_SAVED = 7;
/** Floats per (b, t, unit) that `lstmForward` keeps for its backward pass; their layout is the device's own. */
export const LSTM_SAVED = 6;

/** Steps between two states that the elementwise scans keep for their backward pass. */
export const SCAN_STEPS = 32;

export interface Kernels extends StateSpaceKernels {
  // ---- memory and elementwise ----------------------------------------------------------------------------------

  /** y = value. */
  fill(y: Buf /* [N] */, value: number, N: number): void;
  /** y = x. */
  copy(y: Buf /* [N] */, x: Buf /* [N] */, N: number): void;
  /** y += alpha * x. */
  accumulate(y: Buf /* [N] */, x: Buf /* [N] */, alpha: number, N: number): void;
  /** y = a + b. */
  add(y: Buf /* [N] */, a: Buf /* [N] */, b: Buf /* [N] */, N: number): void;
  /** y = a * b. */
  mulForward(y: Buf /* [N] */, a: Buf /* [N] */, b: Buf /* [N] */, N: number): void;
  mulBackward(da: Opt /* [N] */, db: Opt /* [N] */, dy: Buf /* [N] */, a: Buf, b: Buf, N: number): void;
  /** y = activation(x). */
  activationForward(y: Buf /* [N] */, x: Buf /* [N] */, N: number, activation: Activation): void;
  activationBackward(dx: Buf /* [N] */, dy: Buf /* [N] */, x: Buf /* [N] */, N: number, activation: Activation): void;
  /** y = activation(gate) * up: the middle of a gated feed-forward layer. */
  gatedActivationForward(y: Buf /* [N] */, gate: Buf /* [N] */, up: Buf /* [N] */, N: number, activation: Activation): void;
  gatedActivationBackward(dgate: Buf /* [N] */, dup: Buf /* [N] */, dy: Buf /* [N] */, gate: Buf /* [N] */,
    up: Buf /* [N] */, N: number, activation: Activation): void;
  /** y = (h + skip * c) * SiLU(z): the learnable skip and the output gate of the mLSTM block. */
  skipGateForward(y: Buf /* [N,D] */, h: Buf /* [N,D] */, c: Buf /* [N,D] */, skip: Buf /* [D] */, z: Buf /* [N,D] */,
    N: number, D: number): void;
  skipGateBackward(dh: Buf /* [N,D] */, dc: Buf /* [N,D] */, dskip: Buf /* [D] */, dz: Buf /* [N,D] */,
    dy: Buf /* [N,D] */, h: Buf /* [N,D] */, c: Buf /* [N,D] */, skip: Buf /* [D] */, z: Buf /* [N,D] */,
    N: number, D: number): void;
  /** y = cap * tanh(x / cap): bends x into (-cap, cap), smoothly. cap > 0. */
  softCapForward(y: Buf /* [N] */, x: Buf /* [N] */, N: number, cap: number): void;
  /** dx += dy * (1 - (y / cap)^2), from the result y. */
  softCapBackward(dx: Buf /* [N] */, dy: Buf /* [N] */, y: Buf /* [N] */, N: number, cap: number): void;
  /**
   * y = keep ? x / (1 - rate) : 0, where element n is kept iff the 32-bit word n of the Philox4x32-10 stream of
   * (key0, key1), read as a fraction of 2^32, is at least `rate` (see `tensor/random.ts` for the stream).
   */
  dropoutForward(y: Buf /* [N] */, x: Buf /* [N] */, N: number, rate: number, key0: number, key1: number): void;
  dropoutBackward(dx: Buf /* [N] */, dy: Buf /* [N] */, N: number, rate: number, key0: number, key1: number): void;
  /** y[0] = scale * sum x, with an order of summation that depends on N alone. */
  sumForward(y: Buf /* [1] */, x: Buf /* [N] */, N: number, scale: number): void;
  sumBackward(dx: Buf /* [N] */, dy: Buf /* [1] */, N: number, scale: number): void;

  // ---- linear algebra ------------------------------------------------------------------------------------------

  /**
   * c = activation(op(a) op(b) + bias), or c += op(a) op(b) + bias with `accumulate` (then activation must be none).
   * op(a) is [M,K]: a is stored [M,lda] or, with transA, [K,lda]; op(b) is [K,N]: stored [K,ldb] or, with transB, [N,ldb].
   */
  matmul(c: Buf /* [M,ldc] */, a: Buf, b: Buf, bias: Opt /* [N] */, M: number, N: number, K: number,
    transA: boolean, transB: boolean, lda: number, ldb: number, ldc: number, accumulate: boolean, activation: Activation): void;
  /** dbias[d] += sum over n of dy[n,d]. */
  biasBackward(dbias: Buf /* [D] */, dy: Buf /* [N,D] */, N: number, D: number): void;
  /** Block-diagonal linear: y[n,g,o] = sum_i weight[g,o,i] x[n,g,i] + bias[g,o]. */
  headwiseLinearForward(y: Buf /* [N,G,O] */, x: Buf /* [N,G,I] */, weight: Buf /* [G,O,I] */, bias: Opt /* [G,O] */,
    N: number, G: number, O: number, I: number): void;
  headwiseLinearBackward(dx: Opt /* [N,G,I] */, dweight: Buf /* [G,O,I] */, dbias: Opt /* [G,O] */, dy: Buf /* [N,G,O] */,
    x: Buf /* [N,G,I] */, weight: Buf /* [G,O,I] */, N: number, G: number, O: number, I: number): void;

  // ---- matrices in storage formats (packing.ts): rows of `packedRowBytes(format, columns, group)` bytes -----------

  /**
   * Stores the rows of x, each number rounded to nearest. int8: a group's scale is its largest |x| / 127. int4: of 16
   * scales the one with the smallest squared error. A device reports a number that is not finite, or too large for the
   * format, by its row.
   */
  packRows(packed: Buf /* [R,rowBytes] uint8 */, x: Buf /* [R,C] */, R: number, C: number, format: WeightFormat,
    group: number): void;
  /** y = the weights of the rows, exactly. */
  unpackRows(y: Buf /* [R,C] */, packed: Buf /* [R,rowBytes] uint8 */, R: number, C: number, format: WeightFormat,
    group: number): void;
  /**
   * y[n,o] = sum_i weight[o,i] x[n,i] + bias[o]. A device may take x with 24 bits below the largest |x| of each 128
   * columns. Where a row of x is not finite, so is its row of y.
   */
  linearPacked(y: Buf /* [N,O] */, x: Buf /* [N,I] */, weight: Buf /* [O,rowBytes] uint8 */, bias: Opt /* [O] */,
    N: number, O: number, I: number, format: WeightFormat, group: number): void;
  /** y[n] = the weights of row tokens[n]. Tokens must lie in 0..V-1; a device reports one that does not. */
  embeddingPacked(y: Buf /* [N,D] */, tokens: Buf /* [N] int32 */, table: Buf /* [V,rowBytes] uint8 */, N: number,
    D: number, V: number, format: WeightFormat, group: number): void;

  // ---- norms: over the last axis of [N,G,D]; G = 1 is the plain norm, G = NH the per-head one --------------------

  /** y = (x - mean) * rstd * (weightOffset + weight) + bias. Keeps mean and rstd for the backward pass. */
  layernormForward(y: Buf /* [N,G,D] */, mean: Buf /* [N,G] */, rstd: Buf /* [N,G] */, x: Buf /* [N,G,D] */,
    weight: Buf /* [G,D] */, bias: Opt /* [G,D] */, N: number, G: number, D: number, eps: number, weightOffset: number): void;
  layernormBackward(dx: Buf /* [N,G,D] */, dweight: Buf /* [G,D] */, dbias: Opt /* [G,D] */, dy: Buf /* [N,G,D] */,
    x: Buf /* [N,G,D] */, weight: Buf /* [G,D] */, mean: Buf /* [N,G] */, rstd: Buf /* [N,G] */,
    N: number, G: number, D: number, weightOffset: number): void;
  /** y = x * rstd * (weightOffset + weight), rstd = 1 / sqrt(mean(x^2) + eps). */
  rmsnormForward(y: Buf /* [N,G,D] */, rstd: Buf /* [N,G] */, x: Buf /* [N,G,D] */, weight: Buf /* [G,D] */,
    N: number, G: number, D: number, eps: number, weightOffset: number): void;
  rmsnormBackward(dx: Buf /* [N,G,D] */, dweight: Buf /* [G,D] */, dy: Buf /* [N,G,D] */, x: Buf /* [N,G,D] */,
    weight: Buf /* [G,D] */, rstd: Buf /* [N,G] */, N: number, G: number, D: number, weightOffset: number): void;

  // ---- sequence kernels, fused over time -----------------------------------------------------------------------
  // reset[b,t] = 1 means that a new document begins at (b,t): what came before is forgotten exactly.

  /**
   * Causal depthwise convolution: y[b,t,d] = activation(bias[d] + sum_j weight[d,j] x[b,t-(K-1)+j,d]), j in 0..K-1.
   * `stateIn` holds the K-1 inputs before t = 0, oldest first (zeros if null); `stateOut` the K-1 inputs after the last
   * step, zeros where a reset cut them off. `activation` is none or silu; the backward pass recomputes it from x.
   */
  conv1dForward(y: Buf /* [B,T,D] */, stateOut: Opt /* [B,K-1,D] */, x: Buf /* [B,T,D] */, weight: Buf /* [D,K] */,
    bias: Opt /* [D] */, stateIn: Opt /* [B,K-1,D] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, D: number, K: number, activation: Activation): void;
  conv1dBackward(dx: Buf /* [B,T,D] */, dweight: Buf /* [D,K] */, dbias: Opt /* [D] */, dstateIn: Opt /* [B,K-1,D] */,
    dy: Buf /* [B,T,D] */, dstateOut: Opt /* [B,K-1,D] */, x: Buf /* [B,T,D] */, weight: Buf /* [D,K] */,
    bias: Opt /* [D] */, stateIn: Opt /* [B,K-1,D] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, D: number, K: number, activation: Activation): void;

  /**
   * sLSTM over a whole sequence (arXiv 2405.04517 eq. 8-17, stabilised, log f = logsigmoid(f~)).
   * Gate g of unit (k,j) is its pre-activation + bias[g,k,j] + sum_i recurrent[k,g,j,i] h[t-1,k,i], g in the order i f z o.
   * States are [4,B,NH,DH] in the order c n m h; absent stateIn means c = n = h = 0, m = -infinity, as after a reset.
   * `saved` (SLSTM_SAVED * B*T*NH*DH floats) is for the backward pass, null when there will be none.
   */
  slstmForward(h: Buf /* [B,T,NH,DH] */, stateOut: Opt /* [4,B,NH,DH] */, saved: Opt,
    i: Buf /* [B,T,NH,DH] */, f: Buf /* [B,T,NH,DH] */, z: Buf /* [B,T,NH,DH] */, o: Buf /* [B,T,NH,DH] */,
    recurrent: Buf /* [NH,4,DH,DH] */, bias: Opt /* [4,NH,DH] */, stateIn: Opt /* [4,B,NH,DH] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DH: number): void;
  /** Exact, the stabiliser's gradient included. `dstateOut` is the cotangent of all four last states. */
  slstmBackward(di: Buf /* [B,T,NH,DH] */, df: Buf /* [B,T,NH,DH] */, dz: Buf /* [B,T,NH,DH] */, do_: Buf /* [B,T,NH,DH] */,
    drecurrent: Buf /* [NH,4,DH,DH] */, dbias: Opt /* [4,NH,DH] */, dstateIn: Opt /* [4,B,NH,DH] */,
    dh: Buf /* [B,T,NH,DH] */, dstateOut: Opt /* [4,B,NH,DH] */, h: Buf /* [B,T,NH,DH] */, saved: Buf,
    recurrent: Buf /* [NH,4,DH,DH] */, stateIn: Opt /* [4,B,NH,DH] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DH: number): void;

  /**
   * LSTM over a whole sequence (arXiv 2405.04517 eq. 28-33), block-diagonal recurrence as in `slstmForward`; NH = 1 is
   * the dense one. States are [2,B,NH,DH] in the order c h, zero when absent and after a reset.
   */
  lstmForward(h: Buf /* [B,T,NH,DH] */, stateOut: Opt /* [2,B,NH,DH] */, saved: Opt,
    i: Buf /* [B,T,NH,DH] */, f: Buf /* [B,T,NH,DH] */, z: Buf /* [B,T,NH,DH] */, o: Buf /* [B,T,NH,DH] */,
    recurrent: Buf /* [NH,4,DH,DH] */, bias: Opt /* [4,NH,DH] */, stateIn: Opt /* [2,B,NH,DH] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DH: number): void;
  lstmBackward(di: Buf /* [B,T,NH,DH] */, df: Buf /* [B,T,NH,DH] */, dz: Buf /* [B,T,NH,DH] */, do_: Buf /* [B,T,NH,DH] */,
    drecurrent: Buf /* [NH,4,DH,DH] */, dbias: Opt /* [4,NH,DH] */, dstateIn: Opt /* [2,B,NH,DH] */,
    dh: Buf /* [B,T,NH,DH] */, dstateOut: Opt /* [2,B,NH,DH] */, h: Buf /* [B,T,NH,DH] */, saved: Buf,
    recurrent: Buf /* [NH,4,DH,DH] */, stateIn: Opt /* [2,B,NH,DH] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DH: number): void;

  /**
   * mLSTM over a whole sequence, chunkwise (chunks of L, any T). Defined by its step form, with q^ = q / sqrt(DK):
   *   m = max(logsig(f~) + m, i~) (0 with the sigmoid gate);  C = f' C + i' k v^T;  n = f' n + i' k;
   *   h = q^T C / (max(|q^ . n|, exp(-m)) + eps), or q^T C without `normalize`.
   * Keeps m and the denominator (eps included; 1 without `normalize`) of every step for the backward pass.
   * Absent states mean C = n = 0 and m = -infinity (0 with the sigmoid gate), as after a reset.
   */
  mlstmForward(h: Buf /* [B,T,NH,DV] */, m: Buf /* [B,T,NH] */, denominator: Buf /* [B,T,NH] */,
    Cout: Opt /* [B,NH,DK,DV] */, nout: Opt /* [B,NH,DK] */, mout: Opt /* [B,NH] */,
    q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */, i: Buf /* [B,T,NH] */, f: Buf /* [B,T,NH] */,
    Cin: Opt /* [B,NH,DK,DV] */, nin: Opt /* [B,NH,DK] */, min: Opt /* [B,NH] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DK: number, DV: number, L: number, eps: number, inputGate: InputGate, normalize: boolean): void;
  /** Exact: the normaliser and the stabiliser (which acts through eps and through the last state) get their gradient. */
  mlstmBackward(dq: Buf /* [B,T,NH,DK] */, dk: Buf /* [B,T,NH,DK] */, dv: Buf /* [B,T,NH,DV] */,
    di: Buf /* [B,T,NH] */, df: Buf /* [B,T,NH] */,
    dCin: Opt /* [B,NH,DK,DV] */, dnin: Opt /* [B,NH,DK] */, dmin: Opt /* [B,NH] */,
    dh: Buf /* [B,T,NH,DV] */, dCout: Opt /* [B,NH,DK,DV] */, dnout: Opt /* [B,NH,DK] */, dmout: Opt /* [B,NH] */,
    q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */, i: Buf /* [B,T,NH] */, f: Buf /* [B,T,NH] */,
    Cin: Opt /* [B,NH,DK,DV] */, nin: Opt /* [B,NH,DK] */, min: Opt /* [B,NH] */, reset: Opt /* [B,T] uint8 */,
    h: Buf /* [B,T,NH,DV] */, m: Buf /* [B,T,NH] */, denominator: Buf /* [B,T,NH] */,
    B: number, T: number, NH: number, DK: number, DV: number, L: number, eps: number, inputGate: InputGate, normalize: boolean): void;
  /** One mLSTM step for inference; the state may be updated in place (Cout = Cin and so on). */
  mlstmStep(h: Buf /* [B,NH,DV] */, Cout: Buf /* [B,NH,DK,DV] */, nout: Buf /* [B,NH,DK] */, mout: Buf /* [B,NH] */,
    q: Buf /* [B,NH,DK] */, k: Buf /* [B,NH,DK] */, v: Buf /* [B,NH,DV] */, i: Buf /* [B,NH] */, f: Buf /* [B,NH] */,
    Cin: Buf /* [B,NH,DK,DV] */, nin: Buf /* [B,NH,DK] */, min: Buf /* [B,NH] */,
    B: number, NH: number, DK: number, DV: number, eps: number, inputGate: InputGate, normalize: boolean): void;

  /**
   * Selective scan of Mamba (arXiv 2312.00752 algorithm 2): for every channel d a state h of N numbers,
   *   h = exp(delta A) h + delta Bm u;  y = C . h + skip u,
   * with delta[b,t,d], A[d,n], Bm[b,t,n], C[b,t,n], u[b,t,d]. An absent state is zero, as after a reset.
   * `saved` (B * ceil(T / SCAN_STEPS) * D * N floats) is for the backward pass, null when there will be none.
   */
  selectiveScanForward(y: Buf /* [B,T,D] */, stateOut: Opt /* [B,D,N] */, saved: Opt, u: Buf /* [B,T,D] */,
    delta: Buf /* [B,T,D] */, A: Buf /* [D,N] */, Bm: Buf /* [B,T,N] */, C: Buf /* [B,T,N] */, skip: Opt /* [D] */,
    stateIn: Opt /* [B,D,N] */, reset: Opt /* [B,T] uint8 */, B: number, T: number, D: number, N: number): void;
  selectiveScanBackward(du: Buf /* [B,T,D] */, ddelta: Buf /* [B,T,D] */, dA: Opt /* [D,N] */, dBm: Buf /* [B,T,N] */,
    dC: Buf /* [B,T,N] */, dskip: Opt /* [D] */, dstateIn: Opt /* [B,D,N] */, dy: Buf /* [B,T,D] */,
    dstateOut: Opt /* [B,D,N] */, saved: Buf, u: Buf /* [B,T,D] */, delta: Buf /* [B,T,D] */, A: Buf /* [D,N] */,
    Bm: Buf /* [B,T,N] */, C: Buf /* [B,T,N] */, skip: Opt /* [D] */, stateIn: Opt /* [B,D,N] */,
    reset: Opt /* [B,T] uint8 */, B: number, T: number, D: number, N: number): void;

  /**
   * The wkv of RWKV-4 (arXiv 2305.13048 eq. 16), with the rate w = exp(time_decay) > 0 and the bonus u:
   *   y_t = (sum_{s<t} e^(-(t-1-s) w + k_s) v_s + e^(u + k_t) v_t) / (the same without v).
   * The state [3,B,D] is both sums over what came before, scaled by e^-m, and the running maximum m of their exponents;
   * absent, and after a reset, it is 0, 0 and -infinity.
   * `saved` (3 * B * ceil(T / SCAN_STEPS) * D floats) is for the backward pass, null when there will be none.
   */
  wkvForward(y: Buf /* [B,T,D] */, stateOut: Opt /* [3,B,D] */, saved: Opt, k: Buf /* [B,T,D] */, v: Buf /* [B,T,D] */,
    w: Buf /* [D] */, u: Buf /* [D] */, stateIn: Opt /* [3,B,D] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, D: number): void;
  /** Exact, the maximum's gradient included, which acts through the last state alone. */
  wkvBackward(dk: Buf /* [B,T,D] */, dv: Buf /* [B,T,D] */, dw: Opt /* [D] */, du: Opt /* [D] */,
    dstateIn: Opt /* [3,B,D] */, dy: Buf /* [B,T,D] */, dstateOut: Opt /* [3,B,D] */, saved: Buf,
    k: Buf /* [B,T,D] */, v: Buf /* [B,T,D] */, w: Buf /* [D] */, u: Buf /* [D] */, stateIn: Opt /* [3,B,D] */,
    reset: Opt /* [B,T] uint8 */, B: number, T: number, D: number): void;

  /** h_t = a_t h_{t-1} + x_t for every channel; an absent state is zero, as after a reset. */
  scanForward(h: Buf /* [B,T,D] */, stateOut: Opt /* [B,D] */, a: Buf /* [B,T,D] */, x: Buf /* [B,T,D] */,
    stateIn: Opt /* [B,D] */, reset: Opt /* [B,T] uint8 */, B: number, T: number, D: number): void;
  scanBackward(da: Buf /* [B,T,D] */, dx: Buf /* [B,T,D] */, dstateIn: Opt /* [B,D] */, dh: Buf /* [B,T,D] */,
    dstateOut: Opt /* [B,D] */, h: Buf /* [B,T,D] */, a: Buf /* [B,T,D] */, stateIn: Opt /* [B,D] */,
    reset: Opt /* [B,T] uint8 */, B: number, T: number, D: number): void;

  // ---- softmax attention ---------------------------------------------------------------------------------------
  // A position counts the steps since the document began; a carried state says which one step 0 has.

  /** y = positions; `positionOut` is the position of the step after the last. Exact up to 2^24 where floats are float32. */
  positions(y: Buf /* [B,T] int32 */, positionOut: Opt /* [B] */, positionIn: Opt /* [B], 0 if null */,
    reset: Opt /* [B,T] uint8 */, B: number, T: number): void;
  /**
   * Rotary embedding (arXiv 2104.09864 eq. 34, halves as in Llama): with a = position * theta^(-2d/DH), d < DH/2,
   *   y[d] = x[d] cos a - x[d+DH/2] sin a;  y[d+DH/2] = x[d+DH/2] cos a + x[d] sin a.  DH is even.
   */
  ropeForward(y: Buf /* [N,NH,DH] */, x: Buf /* [N,NH,DH] */, positions: Buf /* [N] int32 */, N: number, NH: number,
    DH: number, theta: number): void;
  ropeBackward(dx: Buf /* [N,NH,DH] */, dy: Buf /* [N,NH,DH] */, positions: Buf /* [N] int32 */, N: number, NH: number,
    DH: number, theta: number): void;
  /**
   * y = softmax(scale q.k + bias) v over the keys that a query sees, never holding [T,T]. Query head h has key head
   * h / (NH/NKV). A causal query at position p sees positions max(0,p-W+1)..p of its document: steps of this call, and
   * before these slot (position mod W) of the caches, nothing where they are null. Without `causal` it sees the steps of
   * its document in this call, whatever W and the caches. Without q and k the logits are the bias alone. The bias has a
   * row per query position (Q = P), or one for all queries (Q = 1).
   * Keeps of each query the largest logit and the log of the sum of exp(logit - largest): their sum is rounded too far
   * where logits are large.
   */
  attentionForward(y: Buf /* [B,T,NH,DV] */, lse: Buf /* [B,T,NH,2] */, q: Opt /* [B,T,NH,DK] */, k: Opt /* [B,T,NKV,DK] */,
    v: Buf /* [B,T,NKV,DV] */, bias: Opt /* [NH,Q,P]: head, query position, key position */, kCache: Opt /* [B,W,NKV,DK] */,
    vCache: Opt /* [B,W,NKV,DV] */, positions: Buf /* [B,T] int32 */, B: number, T: number, NH: number, NKV: number,
    DK: number, DV: number, W: number, Q: number, P: number, scale: number, causal: boolean): void;
  attentionBackward(dq: Opt /* [B,T,NH,DK] */, dk: Opt /* [B,T,NKV,DK] */, dv: Opt /* [B,T,NKV,DV] */, dbias: Opt /* [NH,Q,P] */,
    dkCache: Opt /* [B,W,NKV,DK] */, dvCache: Opt /* [B,W,NKV,DV] */, dy: Buf /* [B,T,NH,DV] */, y: Buf /* [B,T,NH,DV] */,
    lse: Buf /* [B,T,NH,2] */, q: Opt /* [B,T,NH,DK] */, k: Opt /* [B,T,NKV,DK] */, v: Buf /* [B,T,NKV,DV] */,
    bias: Opt /* [NH,Q,P] */, kCache: Opt /* [B,W,NKV,DK] */, vCache: Opt /* [B,W,NKV,DV] */, positions: Buf /* [B,T] int32 */,
    B: number, T: number, NH: number, NKV: number, DK: number, DV: number, W: number, Q: number, P: number,
    scale: number, causal: boolean): void;
  /**
   * The ring after the last step: slot (position mod W) holds the newest row of the last document there, zeros where it
   * has none. kOut may be kIn. With T = 0 it stays as it is.
   */
  attentionCache(kOut: Buf /* [B,W,R] */, kIn: Opt /* [B,W,R], zeros if null */, k: Buf /* [B,T,R] */,
    positions: Buf /* [B,T] int32 */, B: number, T: number, W: number, R: number): void;
  attentionCacheBackward(dk: Opt /* [B,T,R] */, dkIn: Opt /* [B,W,R] */, dkOut: Buf /* [B,W,R] */,
    positions: Buf /* [B,T] int32 */, B: number, T: number, W: number, R: number): void;
  /**
   * Linformer (arXiv 2006.04768 eq. 7), each step over all of its document in this call: with E_p the row of a step's
   * position, K' = sum over the document of E_p k^T and V' likewise [R,NH,D.], y = softmax(scale q K'^T) V'.
   */
  linformerForward(y: Buf /* [B,T,NH,DV] */, q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */,
    E: Buf /* [P,R] */, positions: Buf /* [B,T] int32 */, B: number, T: number, NH: number, DK: number, DV: number,
    P: number, R: number, scale: number): void;
  linformerBackward(dq: Opt /* [B,T,NH,DK] */, dk: Opt /* [B,T,NH,DK] */, dv: Opt /* [B,T,NH,DV] */, dE: Opt /* [P,R] */,
    dy: Buf /* [B,T,NH,DV] */, q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */,
    E: Buf /* [P,R] */, positions: Buf /* [B,T] int32 */, B: number, T: number, NH: number, DK: number, DV: number,
    P: number, R: number, scale: number): void;

  /**
   * The gated delta rule over a whole sequence, chunkwise (chunks of L, any T), with a matrix state S of [DK,DV] per head:
   *   S_t = exp(g_t) (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,   o_t = scale q_t^T S_t
   * (DeltaNet, arXiv 2406.06484, with g = 0; Gated DeltaNet, arXiv 2412.06464). g is the logarithm of the
   * decay, finite and at most 0; absent means 0. The keys are taken as they come: it is stable where |beta k^T k| <= 2.
   * An absent state is zero, as after a reset; stateOut may be stateIn. L changes how it is computed, not what.
   */
  deltaRuleForward(o: Buf /* [B,T,NH,DV] */, stateOut: Opt /* [B,NH,DK,DV] */,
    q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */, beta: Buf /* [B,T,NH] */, g: Opt /* [B,T,NH] */,
    stateIn: Opt /* [B,NH,DK,DV] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DK: number, DV: number, L: number, scale: number): void;
  deltaRuleBackward(dq: Opt /* [B,T,NH,DK] */, dk: Opt /* [B,T,NH,DK] */, dv: Opt /* [B,T,NH,DV] */,
    dbeta: Opt /* [B,T,NH] */, dg: Opt /* [B,T,NH] */, dstateIn: Opt /* [B,NH,DK,DV] */,
    do_: Buf /* [B,T,NH,DV] */, dstateOut: Opt /* [B,NH,DK,DV] */,
    q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */, beta: Buf /* [B,T,NH] */, g: Opt /* [B,T,NH] */,
    stateIn: Opt /* [B,NH,DK,DV] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, DK: number, DV: number, L: number, scale: number): void;

  /**
   * Gated linear attention (Katharopoulos et al. 2020, arXiv 2006.16236; Yang et al. 2023, arXiv 2312.06635 eq. 4), per
   * head: S_t = a_t S_{t-1} + k_t v_t^T with a_t = exp(logDecay) along the keys (1 where it is null), o_t = scale q_t^T S_t.
   * With a bonus u (RWKV): o_t = scale q_t^T (S_{t-1} + (u k_t) v_t^T), of the state before its decay.
   * With `normalize` there is also z_t = a_t z_{t-1} + k_t, and o_t is divided by denominator_t = scale q_t . z_t + eps
   * (with u: of z_{t-1} + u k_t); without it zout, denominator and zin are null and eps is not used.
   * Without `causal` every step reads the sums over its whole document; logDecay, u and all states must be null then.
   * Head h reads the queries and keys of group floor(h NG / NH). L is how many steps a device may work on as a block: it
   * does not change the result. Sout may be the memory of Sin, zout that of zin.
   */
  linearAttentionForward(o: Buf /* [B,T,NH,DV] */, Sout: Opt /* [B,NH,DK,DV] */, zout: Opt /* [B,NH,DK] */,
    denominator: Opt /* [B,T,NH] */, q: Buf /* [B,T,NG,DK] */, k: Buf /* [B,T,NG,DK] */, v: Buf /* [B,T,NH,DV] */,
    logDecay: Opt, u: Opt /* [NH,DK] */, Sin: Opt /* [B,NH,DK,DV] */, zin: Opt /* [B,NH,DK] */, reset: Opt /* [B,T] uint8 */,
    B: number, T: number, NH: number, NG: number, DK: number, DV: number, L: number, scale: number, eps: number,
    decay: Decay, normalize: boolean, causal: boolean): void;
  linearAttentionBackward(dq: Opt /* [B,T,NG,DK] */, dk: Opt /* [B,T,NG,DK] */, dv: Opt /* [B,T,NH,DV] */, dlogDecay: Opt,
    du: Opt /* [NH,DK] */, dSin: Opt /* [B,NH,DK,DV] */, dzin: Opt /* [B,NH,DK] */, do_: Buf /* [B,T,NH,DV] */,
    dSout: Opt /* [B,NH,DK,DV] */, dzout: Opt /* [B,NH,DK] */, q: Buf, k: Buf, v: Buf, logDecay: Opt, u: Opt, Sin: Opt,
    zin: Opt, reset: Opt, o: Buf, denominator: Opt,
    B: number, T: number, NH: number, NG: number, DK: number, DV: number, L: number, scale: number, eps: number,
    decay: Decay, normalize: boolean, causal: boolean): void;

  /**
   * A matrix state S of [DK,DV] per head with a decay of each key channel and a rank one change ("diagonal plus low rank"),
   * as RWKV-7 has it (arXiv 2503.14456):
   *   S_t = diag(exp(g_t)) S_{t-1} + a_t (b_t^T S_{t-1}) + k_t v_t^T,   o_t = S_t^T q_t
   * g is the logarithm of the decay, finite and at most 0. An absent state is zero, as after a reset; stateOut may be
   * stateIn.
   */
  dplrForward(o: Buf /* [B,T,NH,DV] */, stateOut: Opt /* [B,NH,DK,DV] */,
    q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */,
    a: Buf /* [B,T,NH,DK] */, b: Buf /* [B,T,NH,DK] */, g: Buf /* [B,T,NH,DK] */,
    stateIn: Opt /* [B,NH,DK,DV] */, reset: Opt /* [B,T] uint8 */, B: number, T: number, NH: number, DK: number, DV: number): void;
  dplrBackward(dq: Opt /* [B,T,NH,DK] */, dk: Opt /* [B,T,NH,DK] */, dv: Opt /* [B,T,NH,DV] */,
    da: Opt /* [B,T,NH,DK] */, db: Opt /* [B,T,NH,DK] */, dg: Opt /* [B,T,NH,DK] */, dstateIn: Opt /* [B,NH,DK,DV] */,
    do_: Buf /* [B,T,NH,DV] */, dstateOut: Opt /* [B,NH,DK,DV] */,
    q: Buf /* [B,T,NH,DK] */, k: Buf /* [B,T,NH,DK] */, v: Buf /* [B,T,NH,DV] */,
    a: Buf /* [B,T,NH,DK] */, b: Buf /* [B,T,NH,DK] */, g: Buf /* [B,T,NH,DK] */,
    stateIn: Opt /* [B,NH,DK,DV] */, reset: Opt /* [B,T] uint8 */, B: number, T: number, NH: number, DK: number, DV: number): void;

  // ---- language model ------------------------------------------------------------------------------------------

  /** y[n] = table[tokens[n]]. Tokens must lie in 0..V-1; a device reports one that does not. */
  embeddingForward(y: Buf /* [N,D] */, tokens: Buf /* [N] int32 */, table: Buf /* [V,D] */, N: number, D: number, V: number): void;
  embeddingBackward(dtable: Buf /* [V,D] */, dy: Buf /* [N,D] */, tokens: Buf /* [N] int32 */, N: number, D: number, V: number): void;
  /**
   * Output layer and cross-entropy in one: loss[n] = logsumexp_v(logits[n,v]) - logits[n,target[n]], in nats, of
   * logits[n,v] = x[n] . weight[v], or softCap * tanh(x[n] . weight[v] / softCap) where softCap is not 0.
   * A target of -1 is ignored: its loss is 0. Holds at most a chunk of [N,V] at a time. Keeps logsumexp, of ignored rows too.
   */
  linearCrossEntropyForward(loss: Buf /* [N] */, logsumexp: Buf /* [N] */, x: Buf /* [N,D] */, weight: Buf /* [V,D] */,
    targets: Buf /* [N] int32 */, N: number, D: number, V: number, softCap: number): void;
  linearCrossEntropyBackward(dx: Buf /* [N,D] */, dweight: Buf /* [V,D] */, dloss: Buf /* [N] */, x: Buf /* [N,D] */,
    weight: Buf /* [V,D] */, targets: Buf /* [N] int32 */, logsumexp: Buf /* [N] */, N: number, D: number, V: number,
    softCap: number): void;
  /** Both passes at once, where dloss is known before the loss, so that the logits are computed once. */
  linearCrossEntropyForwardBackward(dx: Buf /* [N,D] */, dweight: Buf /* [V,D] */, loss: Buf /* [N] */,
    dloss: Buf /* [N] */, x: Buf /* [N,D] */, weight: Buf /* [V,D] */, targets: Buf /* [N] int32 */, N: number,
    D: number, V: number, softCap: number): void;

  // ---- optimizer -----------------------------------------------------------------------------------------------

  /** y[0] = sum x^2, with an order of summation that depends on N alone. */
  sumOfSquares(y: Buf /* [1] */, x: Buf /* [N] */, N: number): void;
  /**
   * One AdamW step (Loshchilov & Hutter, arXiv 1711.05101), g = gradScale * gradient:
   *   m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g^2;
   *   parameter -= lr * (m / correction1 / (sqrt(v / correction2) + eps) + weightDecay * parameter),
   * with correction1 = 1 - beta1^step and correction2 = 1 - beta2^step computed by the caller.
   */
  adamw(parameter: Buf /* [N] */, m: Buf /* [N] */, v: Buf /* [N] */, gradient: Buf /* [N] */, N: number,
    gradScale: number, lr: number, beta1: number, beta2: number, eps: number, weightDecay: number,
    correction1: number, correction2: number): void;
}

export type KernelName = keyof Kernels;
