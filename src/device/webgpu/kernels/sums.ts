/**
 * @file Sums on the WebGPU device, in an order that depends on the sizes alone: of all elements, and of the columns of a
 * matrix whose elements a kernel computes (gradients of biases, of norms' weights and the like).
 */
import type { DeviceBuffer, Kernels } from '../../kernels.js';
import type { BufferArguments, Gpu } from '../gpu.js';
import { program, type Constants } from '../program.js';

/**
 * `group_${name}(lane, value)`: `combine` over the invocations of a workgroup, a power of two; all get the result.
 * @param ofSubgroup  the function of WGSL that does it within a subgroup
 */
const groupReduction =
  (name: string, ofSubgroup: string, combine: (a: string, b: string) => string) =>
  ({ THREADS, SUBGROUPS }: Constants): string => {
    if (THREADS === 1) return `fn group_${name}(lane: u32, value: f32) -> f32 { return value; }`;
    if (THREADS === 4) {
      return `fn group_${name}(lane: u32, value: f32) -> f32 {
  let pair = ${combine('value', 'quadSwapX(value)')};
  return ${combine('pair', 'quadSwapY(pair)')};
}
`;
    }
    const memory = `var<workgroup> ${name}_of: array<f32, THREADS>;`;
    const [first, other] = [`${name}_of[lane]`, `${name}_of[lane + half]`];
    if (SUBGROUPS === true) {
      return `${memory}
fn group_${name}(lane: u32, value: f32) -> f32 {
  let own = ${ofSubgroup}(value);
  workgroupBarrier();
  if (lane % subgroup_width == 0u) { ${name}_of[lane / subgroup_width] = own; }
  workgroupBarrier();
  var all = ${name}_of[0];
  for (var k = 1u; k < THREADS / subgroup_width; k++) { all = ${combine('all', `${name}_of[k]`)}; }
  return all;
}
`;
    }
    return `${memory}
fn group_${name}(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  ${first} = value;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { ${first} = ${combine(first, other)}; }
  }
  workgroupBarrier();
  return ${name}_of[0];
}
`;
  };

/** `group_sum(lane, value)`. */
export const groupSum = groupReduction('sum', 'subgroupAdd', (a, b) => `${a} + ${b}`);

/** `group_max(lane, value)`. */
export const groupMax = groupReduction('max', 'subgroupMax', (a, b) => `max(${a}, ${b})`);

const sumProgram = (name: string, addend: string) =>
  program({
    name,
    writes: 'y',
    reads: 'x',
    sizes: 'N scale:f32',
    threads: 256,
    solo: true,
    code: (constants) => `${groupSum(constants)}
fn kernel(group: u32, lane: u32) {
  var sum = 0.0;
  for (var n = group * THREADS + lane; n < p.N; n += p.groups * THREADS) { sum += ${addend}; }
  let total = group_sum(lane, sum);
  if (lane == 0u) { y_set(group, p.scale * total); }
}`,
  });

const SUM = sumProgram('sumForward', 'x_at(n)');
const SQUARES = sumProgram('sumOfSquares', 'x_at(n) * x_at(n)');

/** Elements that one workgroup adds up at least, and partial sums at most. */
const [LEAST, MOST] = [2048, 256];

/** Partial sums of N elements; where each is made by one invocation, as many as it has addends. */
const partialSums = ({ isSoftware }: Gpu, N: number): number =>
  isSoftware ? Math.ceil(Math.sqrt(N)) : Math.min(MOST, Math.ceil(N / LEAST));

function sumAll(gpu: Gpu, of: typeof SUM, y: DeviceBuffer, x: DeviceBuffer, N: number, scale: number): void {
  const groups = partialSums(gpu, N);
  if (groups <= 1) {
    gpu.run(of, { y, x }, { N, scale }, 1);
    return;
  }
  gpu.withScratch([groups], (partial) => {
    gpu.run(of, { y: partial, x }, { N, scale: 1 }, groups);
    gpu.run(SUM, { y, x: partial }, { N: groups, scale }, 1);
  });
}

/** Rows that are added up one after another before partial sums are added up in turn. */
const ROWS = 64;

/** Adds a column sum to `to` [C]; `buffers` and `sizes` are those of the element. */
type ColumnSum = (
  gpu: Gpu,
  to: DeviceBuffer | null,
  buffers: BufferArguments,
  sizes: Readonly<Record<string, number>>,
  rows: number,
  columns: number,
) => void;

const ADD_PARTIALS = program({
  name: 'column sums',
  writes: 'y',
  reads: 'partial',
  sizes: 'parts C',
  threads: 64,
  code: `
fn kernel(group: u32, lane: u32) {
  let column = group * THREADS + lane;
  if (column >= p.C) { return; }
  var sum = 0.0;
  for (var part = 0u; part < p.parts; part++) { sum += partial_at(part * p.C + column); }
  y_add(column, sum);
}`,
});

/**
 * y[c] += sum over rows of `element`, an expression of `row`, `column` and e = row * C + column.
 * @param uses  WGSL functions that it calls
 */
export function columnSum(name: string, reads: string, sizes: string, element: string, uses = ''): ColumnSum {
  const of = program({
    name,
    writes: 'partial',
    reads,
    sizes: `rows C columnGroups share ${sizes}`,
    threads: 64,
    code: `${uses}
fn kernel(group: u32, lane: u32) {
  let part = group / p.columnGroups;
  let column = (group % p.columnGroups) * THREADS + lane;
  if (column >= p.C) { return; }
  var sum = 0.0;
  for (var row = part * p.share; row < min(p.rows, (part + 1u) * p.share); row++) {
    let e = row * p.C + column;
    sum += ${element};
  }
  partial_set(part * p.C + column, sum);
}`,
  });
  return (gpu, to, buffers, own, rows, columns) => {
    if (to === null || rows === 0 || columns === 0) return;
    const share = Math.max(ROWS, Math.ceil(Math.sqrt(rows)));
    const parts = Math.ceil(rows / share);
    const columnGroups = Math.ceil(columns / 64);
    gpu.withScratch([parts * columns], (partial) => {
      const all = { ...own, rows, C: columns, columnGroups, share };
      gpu.run(of, { ...buffers, partial: partial }, all, parts * columnGroups);
      gpu.run(ADD_PARTIALS, { y: to, partial: partial }, { parts, C: columns }, columnGroups);
    });
  };
}

const BIAS_SUM = columnSum('biasBackward', 'dy', '', 'dy_at(e)');

export const sums = (gpu: Gpu) =>
  ({
    sumForward: (y, x, N, scale) => sumAll(gpu, SUM, y, x, N, scale),
    sumOfSquares: (y, x, N) => sumAll(gpu, SQUARES, y, x, N, 1),
    biasBackward: (dbias, dy, N, D) => BIAS_SUM(gpu, dbias, { dy }, {}, N, D),
  }) satisfies Partial<Kernels>;
