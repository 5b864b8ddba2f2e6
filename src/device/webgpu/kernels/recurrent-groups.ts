/**
 * @file A recurrence over a whole sequence on the WebGPU device: a workgroup per batch row and head, which keeps its state
 * in workgroup memory. Of a narrow head each invocation also keeps its part of the recurrent matrix, in registers.
 */
import type { Gpu } from '../gpu.js';
import { MATH } from '../math.js';
import { lines, program, type Program } from '../program.js';
import type { Cell, RecurrentForm } from './recurrent-cell.js';

/** Workgroup memory of a unit of a wide head: four gates, h and three states. */
const UNIT_BYTES = 4 * 8;

const MEMORY = `
const UNITS = DH;
var<workgroup> pre: array<f32, 4u * DH>; // gates [4,DH]
var<workgroup> h_before: array<f32, DH>;
var<workgroup> c: array<f32, DH>;
var<workgroup> n: array<f32, DH>;
var<workgroup> m: array<f32, DH>;
`;

/**
 * What multiplies with the recurrent matrix: `before`, once for each invocation, and `product`, which makes `pre` of the
 * gates and `h_before`.
 */
interface ForwardProduct {
  readonly before: string;
  readonly product: string;
}

const WIDE_FORWARD: ForwardProduct = {
  before: '',
  product: `
    for (var unit = lane; unit < 4u * DH; unit += THREADS) {
      var sum = 0.0;
      if (!isReset) {
        for (var i = 0u; i < DH; i++) { sum += transposed_at((head * DH + i) * 4u * DH + unit) * h_before[i]; }
      }
      pre[unit] = gates_at(row * 4u * DH + unit) + sum;
    }`,
};

/** Row `lane` of the matrix lies in registers; gates are loaded a step ahead. */
const narrowForward = (DH: number): ForwardProduct => ({
  before: `
  let unit = min(lane, 4u * DH - 1u);
  ${lines(DH, (i) => `let w${i} = transposed_at((head * DH + ${i}u) * 4u * DH + unit);`)}
  var upcoming = gates_at((b * p.T * p.NH + head) * 4u * DH + unit);`,
  product: `
    let gate = upcoming;
    if (t + 1u < p.T) { upcoming = gates_at((row + p.NH) * 4u * DH + unit); }
    var sum0 = 0.0; var sum1 = 0.0; var sum2 = 0.0; var sum3 = 0.0;
    if (!isReset) { ${lines(DH, (i) => `sum${i % 4} = fma(w${i}, h_before[${i}], sum${i % 4});`)} }
    if (lane < 4u * DH) { pre[lane] = gate + ((sum0 + sum1) + (sum2 + sum3)); }`,
});

const forwardProgram = (cell: Cell, threads: number, isNarrow: boolean): Program =>
  program({
    name: `${cell.name}Forward ${threads}`,
    writes: 'h stateOut saved',
    reads: 'gates transposed stateIn reset:u8',
    sizes: 'B T NH units',
    threads,
    code({ DH }) {
      const { before, product } = isNarrow ? narrowForward(Number(DH)) : WIDE_FORWARD;
      return `${MATH}${MEMORY}${cell.begin}${cell.forget}${cell.step}${cell.end}
fn kernel(group: u32, lane: u32) {
  let b = group / p.NH;
  let head = group % p.NH;
  let plane = p.B * p.NH * DH;
  for (var j = lane; j < DH; j += THREADS) {
    begin(j, group * DH + j, plane);
    h_before[j] = stateIn_at(${cell.states - 1}u * plane + group * DH + j);
  }
  ${before}
  workgroupBarrier();
  for (var t = 0u; t < p.T; t++) {
    let row = (b * p.T + t) * p.NH + head;
    let isReset = reset_at(b * p.T + t) != 0u;
    ${product}
    workgroupBarrier();
    for (var j = lane; j < DH; j += THREADS) {
      if (isReset) { forget(j); }
      let value = step(j, row * DH + j);
      h_before[j] = value;
      h_set(row * DH + j, value);
    }
    workgroupBarrier();
  }
  for (var j = lane; j < DH; j += THREADS) {
    end(j, group * DH + j, plane);
    stateOut_set(${cell.states - 1}u * plane + group * DH + j, h_before[j]);
  }
}`;
    },
  });

/** As forward: `product` makes the gradient of h before the step, `handed(j)`, of `pre`. */
interface BackwardProduct extends ForwardProduct {
  readonly memory: string;
}

const WIDE_BACKWARD: BackwardProduct = {
  memory: 'fn handed(j: u32) -> f32 { return h_before[j]; }',
  before: '',
  product: `
    for (var i = lane; i < DH; i += THREADS) {
      var sum = 0.0;
      if (!isReset) {
        for (var unit = 0u; unit < 4u * DH; unit++) {
          sum += pre[unit] * recurrent_at((head * 4u * DH + unit) * DH + i);
        }
      }
      h_before[i] = sum;
    }`,
};

/** Invocation (gate, i) sums over the units of its gate, whose column i it has in registers. */
const narrowBackward = (DH: number): BackwardProduct => ({
  memory: `
var<workgroup> of_gates: array<f32, 4u * DH>;
fn handed(j: u32) -> f32 {
  return h_before[j] + ((of_gates[j] + of_gates[DH + j]) + (of_gates[2u * DH + j] + of_gates[3u * DH + j]));
}`,
  before: `
  let gate = min(lane / DH, 3u);
  let column = (head * 4u + gate) * DH * DH + lane % DH;
  ${lines(DH, (u) => `let w${u} = recurrent_at(column + ${u}u * DH);`)}
  if (lane < 4u * DH) { of_gates[lane] = 0.0; }`,
  product: `
    var sum0 = 0.0; var sum1 = 0.0; var sum2 = 0.0; var sum3 = 0.0;
    if (!isReset) { ${lines(DH, (u) => `sum${u % 4} = fma(w${u}, pre[gate * DH + ${u}u], sum${u % 4});`)} }
    if (lane < 4u * DH) { of_gates[lane] = (sum0 + sum1) + (sum2 + sum3); }
    if (lane < DH) { h_before[lane] = 0.0; }`,
});

const backwardProgram = (cell: Cell, threads: number, isNarrow: boolean): Program =>
  program({
    name: `${cell.name}Backward ${threads}`,
    writes: 'dgates dstateIn',
    reads: 'dh dstateOut saved recurrent stateIn reset:u8',
    sizes: 'B T NH units',
    threads,
    // Here c, n, m and h_before hold the gradients of the state that later steps hand back.
    code({ DH }) {
      const { memory, before, product } = isNarrow ? narrowBackward(Number(DH)) : WIDE_BACKWARD;
      return `${MATH}${MEMORY}${memory}${cell.back}${cell.carry}
fn kernel(group: u32, lane: u32) {
  let b = group / p.NH;
  let head = group % p.NH;
  let plane = p.B * p.NH * DH;
  for (var j = lane; j < DH; j += THREADS) {
    begin_back(j, group * DH + j, plane);
    h_before[j] = dstateOut_at(${cell.states - 1}u * plane + group * DH + j);
  }
  ${before}
  workgroupBarrier();
  for (var back_step = 0u; back_step < p.T; back_step++) {
    let t = p.T - 1u - back_step;
    let row = (b * p.T + t) * p.NH + head;
    let isReset = reset_at(b * p.T + t) != 0u;
    for (var j = lane; j < DH; j += THREADS) {
      let at = row * DH + j;
      back(j, at, t > 0u, group * DH + j, plane, dh_at(at) + handed(j), isReset);
      for (var g = 0u; g < 4u; g++) { dgates_set((row * 4u + g) * DH + j, pre[g * DH + j]); }
    }
    workgroupBarrier();
    ${product}
    workgroupBarrier();
  }
  for (var j = lane; j < DH; j += THREADS) {
    end_back(j, group * DH + j, plane);
    dstateIn_add(${cell.states - 1}u * plane + group * DH + j, handed(j));
  }
}`;
    },
  });

/** Invocations of the workgroups: four for each unit of a narrow head. */
const NARROW = [64, 128, 256] as const;
const WIDE = 256;

/** Chooses by the width of a head. @throws RangeError where a head does not fit into the memory of a workgroup. */
export function groupForms(cell: Cell): (gpu: Gpu, B: number, NH: number, DH: number) => RecurrentForm {
  const make = (threads: number, isNarrow: boolean) => ({
    threads,
    forward: forwardProgram(cell, threads, isNarrow),
    backward: backwardProgram(cell, threads, isNarrow),
  });
  const narrow = NARROW.map((threads) => make(threads, true));
  const wide = make(WIDE, false);
  return (gpu, B, NH, DH) => {
    const { maxComputeWorkgroupStorageSize: most } = gpu.device.limits;
    if (DH * UNIT_BYTES > most) {
      throw new RangeError(
        `webgpu: ${cell.name}: a head of width ${DH} needs ${DH * UNIT_BYTES} bytes of workgroup memory, this adapter ` +
          `allows ${most} (maxComputeWorkgroupStorageSize); take more heads`,
      );
    }
    const { forward, backward } = narrow.find(({ threads }) => 4 * DH <= threads) ?? wide;
    return { forward, backward, groups: B * NH, constants: { DH } };
  };
}
