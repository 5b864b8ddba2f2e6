/** @file The LSTM of the WebGPU device (arXiv 2405.04517 eq. 28-33). `saved` is [6,B,T,NH,DH]. */
import type { Kernels } from '../../kernels.js';
import type { Gpu } from '../gpu.js';
import type { Cell } from './recurrent-cell.js';
import { recurrence } from './recurrent.js';

const CELL: Cell = {
  name: 'lstm',
  states: 2,
  empty: [0, 0],
  begin: `
fn begin(j: u32, at: u32, plane: u32) { c[j] = stateIn_at(at); }`,
  forget: `
fn forget(j: u32) { c[j] = 0.0; }`,
  step: `
fn step(j: u32, at: u32) -> f32 {
  let i = xl_sigmoid(pre[j]);
  let f = xl_sigmoid(pre[UNITS + j]);
  let z = xl_tanh(pre[2u * UNITS + j]);
  let o = xl_sigmoid(pre[3u * UNITS + j]);
  c[j] = f * c[j] + i * z;
  let squashed = xl_tanh(c[j]);
  if (has_saved) {
    saved_set(at, i);
    saved_set(p.units + at, f);
    saved_set(2u * p.units + at, z);
    saved_set(3u * p.units + at, o);
    saved_set(4u * p.units + at, c[j]);
    saved_set(5u * p.units + at, squashed);
  }
  return o * squashed;
}`,
  end: `
fn end(j: u32, at: u32, plane: u32) { stateOut_set(at, c[j]); }`,
  back: `
fn back(j: u32, at: u32, hasBefore: bool, state: u32, plane: u32, dh: f32, isReset: bool) {
  let i = saved_at(at);
  let f = saved_at(p.units + at);
  let z = saved_at(2u * p.units + at);
  let o = saved_at(3u * p.units + at);
  let squashed = saved_at(5u * p.units + at);
  var c_before = 0.0;
  if (!isReset) {
    if (hasBefore) { c_before = saved_at(4u * p.units + at - p.NH * DH); } else { c_before = stateIn_at(state); }
  }
  // h = o tanh(c)
  let dc = c[j] + dh * o * (1.0 - squashed * squashed);
  // c = f c' + i z
  pre[j] = dc * z * i * (1.0 - i);
  pre[UNITS + j] = dc * c_before * f * (1.0 - f);
  pre[2u * UNITS + j] = dc * i * (1.0 - z * z);
  pre[3u * UNITS + j] = dh * squashed * o * (1.0 - o);
  c[j] = select(dc * f, 0.0, isReset);
}`,
  carry: `
fn begin_back(j: u32, at: u32, plane: u32) { c[j] = dstateOut_at(at); }
fn end_back(j: u32, at: u32, plane: u32) { dstateIn_add(at, c[j]); }`,
};

export function lstm(gpu: Gpu) {
  const { forward, backward } = recurrence(gpu, CELL);
  return { lstmForward: forward, lstmBackward: backward } satisfies Partial<Kernels>;
}
