/** @file sLSTM and LSTM over a whole sequence: two cells with one interface, block-diagonal recurrence per head. */
import { LSTM_SAVED, SLSTM_SAVED } from '../device/kernels.js';
import { checkShape, formatShape } from '../tensor/shape.js';
import { currentScope } from '../tensor/scope.js';
import { isRecorded, record } from '../tensor/tape.js';
import { checkSameShape, Tensor } from '../tensor/tensor.js';
import { checkReset, type Reset } from './reset.js';

/** Pre-activations of the four gates, each [B,T,NH*DH], before recurrent part and bias. */
export interface Gates {
  readonly i: Tensor;
  readonly f: Tensor;
  readonly z: Tensor;
  readonly o: Tensor;
}

export interface RecurrentOptions {
  /** Last states of an earlier stretch, as this op returned them; null to start afresh. */
  readonly state?: Tensor | null;
  readonly reset?: Reset;
}

/**
 * sLSTM (arXiv 2405.04517 eq. 8-17): exponential input gate, stabilised, h = sigmoid(o~) c / n.
 * @param gates      i f z o, each [B,T,NH*DH]
 * @param recurrent  [NH,4*DH,DH]: row g*DH+j of head k feeds gate g of unit j from that head's h
 * @param bias       [4*NH*DH] in the order (gate, head, unit), or null
 * @returns          h [B,T,NH*DH] and the last states c n m h as [4,B,NH*DH]
 * @throws RangeError when the shapes do not fit.
 */
export function slstm(
  gates: Gates,
  recurrent: Tensor,
  bias: Tensor | null,
  options: RecurrentOptions = {},
): [Tensor, Tensor] {
  return recurrentCell('slstm', gates, recurrent, bias, options);
}

/**
 * LSTM (arXiv 2405.04517 eq. 28-33): sigmoid gates, h = sigmoid(o~) tanh(c). Arguments as for `slstm`; one head makes
 * the recurrence dense.
 * @returns h [B,T,NH*DH] and the last states c h as [2,B,NH*DH]
 * @throws RangeError when the shapes do not fit.
 */
export function lstm(
  gates: Gates,
  recurrent: Tensor,
  bias: Tensor | null,
  options: RecurrentOptions = {},
): [Tensor, Tensor] {
  return recurrentCell('lstm', gates, recurrent, bias, options);
}

const CELLS = {
  slstm: { states: 4, saved: SLSTM_SAVED, forward: 'slstmForward', backward: 'slstmBackward' },
  lstm: { states: 2, saved: LSTM_SAVED, forward: 'lstmForward', backward: 'lstmBackward' },
} as const;

function recurrentCell(
  name: keyof typeof CELLS,
  { i, f, z, o }: Gates,
  recurrent: Tensor,
  bias: Tensor | null,
  { state = null, reset = null }: RecurrentOptions,
): [Tensor, Tensor] {
  const cell = CELLS[name];
  if (i.shape.length !== 3) throw new RangeError(`${name}: gates must be [B,T,NH*DH], got ${formatShape(i.shape)}`);
  const [B, T, D] = i.shape as [number, number, number];
  const NH = recurrent.extent(0);
  const DH = D / NH;
  for (const gate of [f, z, o]) checkSameShape(`${name}: every gate`, i, gate);
  const swapped = recurrent.shape[1] === DH && recurrent.shape[2] === 4 * DH;
  checkShape(
    `${name}: recurrent`,
    recurrent.shape,
    [NH, 4 * DH, DH],
    swapped ? 'transpose the last two axes' : undefined,
  );
  if (bias !== null) checkShape(`${name}: bias`, bias.shape, [4 * D]);
  if (state !== null) checkShape(`${name}: state`, state.shape, [cell.states, B, D]);
  checkReset(name, reset, B, T);

  const { device } = i;
  const { kernels } = device;
  const recorded = isRecorded([i, f, z, o, recurrent, bias, state]);
  const h = Tensor.outputLike(i);
  const last = Tensor.output(device, [cell.states, B, D]);
  const saved = recorded ? currentScope(device).alloc('float', cell.saved * B * T * D) : null;
  const [R, b, s, r] = [recurrent.buffer, bias?.buffer ?? null, state?.buffer ?? null, reset?.buffer ?? null];
  kernels[cell.forward](h.buffer, last.buffer, saved, i.buffer, f.buffer, z.buffer, o.buffer, R, b, s, r, B, T, NH, DH);
  if (recorded) {
    record(name, [h, last], [saved!], ([dh, dlast]) => {
      const dbias = bias?.requiresGrad ? bias.grad : null;
      const dstate = state?.requiresGrad ? state.grad : null;
      kernels[cell.backward](
        i.grad,
        f.grad,
        z.grad,
        o.grad,
        recurrent.grad,
        dbias,
        dstate,
        dh ?? h.grad,
        dlast ?? null,
        h.buffer,
        saved!,
        R,
        s,
        r,
        B,
        T,
        NH,
        DH,
      );
    });
  }
  return [h, last];
}
