/** @file mLSTM over a whole sequence (chunkwise) and as a single step. */
import { InputGate } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

/** Matrix memory of a head and what keeps it in range; C and n are unscaled, the query is scaled by 1/sqrt(DK). */
export interface MlstmState {
  /** [B,NH,DK,DV] */
  readonly C: Tensor;
  /** [B,NH,DK] */
  readonly n: Tensor;
  /** [B,NH]; -infinity before the first step of the exponential gate. */
  readonly m: Tensor;
}

export interface MlstmInputs {
  /** [B,T,NH*DK] */
  readonly q: Tensor;
  /** [B,T,NH*DK] */
  readonly k: Tensor;
  /** [B,T,NH*DV] */
  readonly v: Tensor;
  /** Input gate pre-activation [B,T,NH]. */
  readonly i: Tensor;
  /** Forget gate pre-activation [B,T,NH]. */
  readonly f: Tensor;
}

export interface MlstmOptions {
  readonly inputGate?: keyof typeof InputGate;
  /** Divide by max(|q.n|, exp(-m)). Default true. */
  readonly normalize?: boolean;
  /** Steps that are worked on as one block of matrix products; the result does not depend on it. Default 64. */
  readonly chunkSize?: number;
  /** Added to the denominator. Default 1e-6. */
  readonly eps?: number;
  readonly state?: MlstmState | null;
  readonly reset?: Reset;
}

/**
 * mLSTM (arXiv 2405.04517 eq. 19-27, chunkwise; the equations are in docs/mathematics.md).
 * @returns h [B,T,NH*DV] and the state after the last step
 * @throws RangeError when the shapes do not fit.
 */
export function mlstm(inputs: MlstmInputs, options: MlstmOptions = {}): [Tensor, MlstmState] {
  const { q, k, v, i, f } = inputs;
  const { state = null, reset = null, normalize = true, chunkSize = 64, eps = 1e-6 } = options;
  const gate = InputGate[options.inputGate ?? 'exponential'];
  const [B, T, NH, DK, DV] = checkInputs('mlstm', inputs, 3);
  checkReset('mlstm', reset, B, T);
  if (state !== null) checkState('mlstm', state, B, NH, DK, DV);
  if (!(chunkSize >= 1)) throw new RangeError(`mlstm: chunkSize must be at least 1, got ${chunkSize}`);

  const { device } = q;
  const scope = currentScope(device);
  const h = Tensor.outputLike(v);
  const m = scope.alloc('float', B * T * NH);
  const denominator = scope.alloc('float', B * T * NH);
  const last = emptyState(q, B, NH, DK, DV);
  const data = [q.buffer, k.buffer, v.buffer, i.buffer, f.buffer] as const;
  const before = [state?.C.buffer ?? null, state?.n.buffer ?? null, state?.m.buffer ?? null] as const;
  const resets = reset?.buffer ?? null;
  const sizes = [B, T, NH, DK, DV, chunkSize, eps, gate, normalize] as const;
  const lastTensors = [last.C, last.n, last.m];
  const [C, n, mLast] = lastTensors.map((t) => t.buffer);
  device.kernels.mlstmForward(h.buffer, m, denominator, C!, n!, mLast!, ...data, ...before, resets, ...sizes);

  const stateTensors = [state?.C ?? null, state?.n ?? null, state?.m ?? null];
  if (isRecorded([q, k, v, i, f, ...stateTensors])) {
    record('mlstm', [h, ...lastTensors], [m, denominator], ([dh, dC, dn, dm]) => {
      const [dC0, dn0, dm0] = stateTensors.map((t) => (t?.requiresGrad ? t.grad : null));
      device.kernels.mlstmBackward(
        q.grad,
        k.grad,
        v.grad,
        i.grad,
        f.grad,
        dC0!,
        dn0!,
        dm0!,
        dh ?? h.grad,
        dC!,
        dn!,
        dm!,
        ...data,
        ...before,
        resets,
        h.buffer,
        m,
        denominator,
        ...sizes,
      );
    });
  }
  return [h, last];
}

export interface MlstmStepOptions extends Pick<MlstmOptions, 'inputGate' | 'normalize' | 'eps'> {
  /** Overwrite the state instead of making a new one. Default false. */
  readonly inPlace?: boolean;
}

/**
 * One mLSTM step for inference: inputs as for `mlstm` with T left out ([B,NH*DK], gates [B,NH]).
 * @returns h [B,NH*DV] and the next state: a new one, or with `inPlace` the tensors of the one given
 * @throws RangeError when the shapes do not fit. Error where gradients are recorded: use `mlstm` with T = 1.
 */
export function mlstmStep(
  inputs: MlstmInputs,
  state: MlstmState,
  options: MlstmStepOptions = {},
): [Tensor, MlstmState] {
  const { q, k, v, i, f } = inputs;
  const { normalize = true, eps = 1e-6 } = options;
  const gate = InputGate[options.inputGate ?? 'exponential'];
  const [B, , NH, DK, DV] = checkInputs('mlstmStep', inputs, 2);
  checkState('mlstmStep', state, B, NH, DK, DV);
  if (isRecorded([q, k, v, i, f])) throw new Error('mlstmStep: has no gradient; call mlstm with T = 1 while recording');
  const { device } = q;
  const h = Tensor.outputLike(v);
  const next = options.inPlace ? state : emptyState(q, B, NH, DK, DV);
  device.kernels.mlstmStep(
    h.buffer,
    next.C.buffer,
    next.n.buffer,
    next.m.buffer,
    q.buffer,
    k.buffer,
    v.buffer,
    i.buffer,
    f.buffer,
    state.C.buffer,
    state.n.buffer,
    state.m.buffer,
    B,
    NH,
    DK,
    DV,
    eps,
    gate,
    normalize,
  );
  return [h, next];
}

function emptyState({ device }: Tensor, B: number, NH: number, DK: number, DV: number): MlstmState {
  return {
    C: Tensor.output(device, [B, NH, DK, DV]),
    n: Tensor.output(device, [B, NH, DK]),
    m: Tensor.output(device, [B, NH]),
  };
}

/** Checks the five inputs and reads B, T, NH, DK, DV from them. */
function checkInputs(
  op: string,
  { q, k, v, i, f }: MlstmInputs,
  rank: 2 | 3,
): [number, number, number, number, number] {
  if (q.shape.length !== rank) {
    throw new RangeError(`${op}: q must be [B,${rank === 3 ? 'T,' : ''}NH*DK], got ${formatShape(q.shape)}`);
  }
  const lead = q.shape.slice(0, -1);
  const NH = i.extent(-1);
  const [keys, values] = [q.extent(-1), v.extent(-1)];
  if (keys % NH !== 0 || values % NH !== 0) {
    throw new RangeError(
      `${op}: widths of q (${keys}) and v (${values}) must be multiples of the ${NH} heads of the gates`,
    );
  }
  checkShape(`${op}: k`, k.shape, q.shape);
  checkShape(`${op}: v`, v.shape, [...lead, values]);
  checkShape(`${op}: i`, i.shape, [...lead, NH]);
  checkShape(`${op}: f`, f.shape, [...lead, NH]);
  return [lead[0]!, lead[1] ?? 1, NH, keys / NH, values / NH];
}

function checkState(op: string, state: MlstmState, B: number, NH: number, DK: number, DV: number): void {
  checkShape(`${op}: state C`, state.C.shape, [B, NH, DK, DV]);
  checkShape(`${op}: state n`, state.n.shape, [B, NH, DK]);
  checkShape(`${op}: state m`, state.m.shape, [B, NH]);
}
