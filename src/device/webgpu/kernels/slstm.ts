/** @file The sLSTM of the WebGPU device (arXiv 2405.04517 eq. 8-17), stabilised. `saved` is [7,B,T,NH,DH]. */
import type { Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import type { Cell } from './recurrent-cell.js';
import { recurrence } from './recurrent.js';

const CELL: Cell = {
  name: 'slstm',
  states: 4,
  empty: [0, 0, -Infinity, 0],
  begin: `
fn begin(j: u32, at: u32, plane: u32) {
  c[j] = stateIn_at(at);
  n[j] = stateIn_at(plane + at);
  m[j] = select(LOWEST, max(stateIn_at(2u * plane + at), LOWEST), has_stateIn);
}`,
  forget: `
fn forget(j: u32) {
  c[j] = 0.0;
  n[j] = 0.0;
  m[j] = LOWEST;
}`,
  step: `
fn step(j: u32, at: u32) -> f32 {
  let i_pre = pre[j];
  let f_pre = pre[UNITS + j];
  let z = xl_tanh(pre[2u * UNITS + j]);
  let o = xl_sigmoid(pre[3u * UNITS + j]);
  let forgotten = xl_logsigmoid(f_pre) + m[j];
  let m_new = max(forgotten, i_pre);
  let i = xl_exp(i_pre - m_new);
  let f = xl_exp(forgotten - m_new);
  c[j] = f * c[j] + i * z;
  n[j] = f * n[j] + i;
  m[j] = m_new;
  if (has_saved) {
    saved_set(at, i_pre);
    saved_set(p.units + at, f_pre);
    saved_set(2u * p.units + at, z);
    saved_set(3u * p.units + at, o);
    saved_set(4u * p.units + at, c[j]);
    saved_set(5u * p.units + at, n[j]);
    saved_set(6u * p.units + at, m_new);
  }
  return o * c[j] / n[j];
}`,
  end: `
fn end(j: u32, at: u32, plane: u32) {
  stateOut_set(at, c[j]);
  stateOut_set(plane + at, n[j]);
  stateOut_set(2u * plane + at, m[j]);
}`,
  back: `
fn back(j: u32, at: u32, hasBefore: bool, state: u32, plane: u32, dh: f32, isReset: bool) {
  let i_pre = saved_at(at);
  let f_pre = saved_at(p.units + at);
  let z = saved_at(2u * p.units + at);
  let o = saved_at(3u * p.units + at);
  let c_here = saved_at(4u * p.units + at);
  let n_here = saved_at(5u * p.units + at);
  let m_here = saved_at(6u * p.units + at);
  var c_before = 0.0;
  var n_before = 0.0;
  var m_before = LOWEST;
  if (!isReset) {
    if (hasBefore) {
      let before = at - p.NH * DH;
      c_before = saved_at(4u * p.units + before);
      n_before = saved_at(5u * p.units + before);
      m_before = saved_at(6u * p.units + before);
    } else if (has_stateIn) {
      c_before = stateIn_at(state);
      n_before = stateIn_at(plane + state);
      m_before = max(stateIn_at(2u * plane + state), LOWEST);
    }
  }
  let forgotten = xl_logsigmoid(f_pre) + m_before;
  let i = xl_exp(i_pre - m_here);
  let f = xl_exp(forgotten - m_here);
  // h = o c / n
  let doutput = dh * c_here / n_here;
  let dc = c[j] + dh * o / n_here;
  let dn = n[j] - dh * o * c_here / (n_here * n_here);
  // c = f c' + i z;  n = f n' + i
  let di = (dc * z + dn) * i;
  let df = (dc * c_before + dn * n_before) * f;
  // i = exp(i~ - m);  f = exp(forgotten - m);  m = max(forgotten, i~), a tie goes to i~
  let dm = m[j] - di - df;
  let inputWins = i_pre >= forgotten;
  let dforgotten = df + select(dm, 0.0, inputWins);
  pre[j] = di + select(0.0, dm, inputWins);
  pre[UNITS + j] = dforgotten * xl_sigmoid(-f_pre);
  pre[2u * UNITS + j] = dc * i * (1.0 - z * z);
  pre[3u * UNITS + j] = doutput * o * (1.0 - o);
  // forgotten = logsigmoid(f~) + m'
  c[j] = select(dc * f, 0.0, isReset);
  n[j] = select(dn * f, 0.0, isReset);
  m[j] = select(dforgotten, 0.0, isReset);
}`,
  carry: `
fn begin_back(j: u32, at: u32, plane: u32) {
  c[j] = dstateOut_at(at);
  n[j] = dstateOut_at(plane + at);
  m[j] = dstateOut_at(2u * plane + at);
}
fn end_back(j: u32, at: u32, plane: u32) {
  dstateIn_add(at, c[j]);
  dstateIn_add(plane + at, n[j]);
  dstateIn_add(2u * plane + at, m[j]);
}`,
};

export function slstm(gpu: Gpu) {
  const { forward, backward } = recurrence(gpu, CELL);
  return { slstmForward: forward, slstmBackward: backward } satisfies Partial<Kernels>;
}
