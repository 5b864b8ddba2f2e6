/**
 * @file The matrix product of the WebGPU device with operands in half precision, by the units of a GPU that multiply small
 * matrices (Dawn's subgroup matrices): eight subgroups of 32 hold a tile of c in their registers, as fragments.
 */
import type { MatrixUnit } from '../halves.js';
import { activations } from '../math.js';
import { lines, program, type Constants, type Program } from '../program.js';
import { PUT, SIZES, tilePlace } from './matmul-parts.js';
import { ELEMENTS, type Sizes } from './matmul-tiles.js';

const SUBGROUPS_M = 4;
const SUBGROUPS_N = 2;
const THREADS = 32 * SUBGROUPS_M * SUBGROUPS_N;
/** Steps along K that lie in workgroup memory. */
const DEPTH = 32;
/** Numbers behind each line of workgroup memory, so that the lines begin in different banks; 16 bytes keep them aligned. */
const GAP = 8;

/** How a part of an operand lies in workgroup memory: as in memory, so that neighbours read and write neighbours. */
interface Place {
  readonly lines: number;
  readonly length: number;
  readonly stride: number;
  /** The element of the operand at `line` and `at`, with `k` the first step. */
  readonly element: (line: string, at: string, k: string) => string;
}

function placeOfA(side: number, isTransposed: boolean): Place {
  return isTransposed
    ? { ...linesOf(DEPTH, side), element: (line, at, k) => `a_element(base_a, row + ${at}, ${k} + ${line})` }
    : { ...linesOf(side, DEPTH), element: (line, at, k) => `a_element(base_a, row + ${line}, ${k} + ${at})` };
}

function placeOfB(side: number, isTransposed: boolean): Place {
  return isTransposed
    ? { ...linesOf(side, DEPTH), element: (line, at, k) => `b_element(base_b, ${k} + ${at}, column + ${line})` }
    : { ...linesOf(DEPTH, side), element: (line, at, k) => `b_element(base_b, ${k} + ${line}, column + ${at})` };
}

const linesOf = (count: number, length: number) => ({ lines: count, length, stride: length + GAP });

/** Each invocation loads `loads` vectors of four; `next_a0`... hold them until the tile before is used up. */
const loadsOf = (side: number): number => (side * DEPTH) / 4 / THREADS;

const load = (name: string, { length, element }: Place, loads: number, k: string): string =>
  lines(loads, (r) => {
    const of = `(lane + ${THREADS * r}u)`;
    const [line, at] = [`${of} / ${length / 4}u`, `${of} % ${length / 4}u * 4u`];
    const four = [0, 1, 2, 3].map((e) => element(line, `${at} + ${e}u`, k));
    return `next_${name}${r} = vec4<f16>(vec4<f32>(${four.join(', ')}));`;
  });

const keep = (name: string, { length, stride }: Place, loads: number): string =>
  lines(loads, (r) => {
    const of = `(lane + ${THREADS * r}u)`;
    const at = `${of} / ${length / 4}u * ${stride}u + ${of} % ${length / 4}u * 4u`;
    return lines(4, (e) => `tile_${name}[${at} + ${e}u] = next_${name}${r}[${e}];`);
  });

const fragment = (name: string, type: string, order: string, line: string, at: string, { stride }: Place): string =>
  `subgroupMatrixLoad<${type}, ${order}>(&tile_${name}, ${line} * ${stride}u + ${at}, ${stride}u)`;

/** A form whose tiles have `side` rows and columns, of which each subgroup makes side / 4 by side / 2. */
const withMatrices = (side: number): Program =>
  program({
    name: `matmul by subgroup matrices, ${side} x ${side}`,
    writes: 'c',
    reads: 'a b bias',
    sizes: SIZES,
    threads: THREADS,
    code: (constants) => codeOf(side, constants),
  });

function codeOf(side: number, constants: Constants): string {
  const [M, N, K] = ['UNIT_M', 'UNIT_N', 'UNIT_K'].map((name) => Number(constants[name])) as [number, number, number];
  const [transA, transB] = [constants['TRANS_A'] === true, constants['TRANS_B'] === true];
  const [a, b] = [placeOfA(side, transA), placeOfB(side, transB)];
  const [height, width] = [side / SUBGROUPS_M, side / SUBGROUPS_N];
  const [rows, columns, loads] = [height / M, width / N, loadsOf(side)];
  // A fragment lies in rows or in columns, as its operand lies in memory.
  const left = (i: number, s: number): string => {
    const [type, m, k] = [`subgroup_matrix_left<f16, ${K}, ${M}>`, `(first_m + ${i * M}u)`, `${s * K}u`];
    return transA ? fragment('a', type, 'col_major', k, m, a) : fragment('a', type, 'row_major', m, k, a);
  };
  const right = (j: number, s: number): string => {
    const [type, n, k] = [`subgroup_matrix_right<f16, ${N}, ${K}>`, `(first_n + ${j * N}u)`, `${s * K}u`];
    return transB ? fragment('b', type, 'col_major', n, k, b) : fragment('b', type, 'row_major', k, n, b);
  };
  const fragments = (text: (i: number, j: number) => string): string =>
    lines(rows, (i) => lines(columns, (j) => text(i, j)));
  return `${activations(constants)}${PUT}${ELEMENTS}
var<workgroup> tile_a: array<f16, ${a.lines * a.stride}>;
var<workgroup> tile_b: array<f16, ${b.lines * b.stride}>;
var<workgroup> sums: array<f32, ${SUBGROUPS_M * SUBGROUPS_N * M * N}>; // one fragment of each subgroup
fn kernel(group: u32, lane: u32) {
  ${tilePlace(side)}
  let subgroup = lane / 32u;
  let first_m = subgroup / ${SUBGROUPS_N}u * ${height}u;
  let first_n = subgroup % ${SUBGROUPS_N}u * ${width}u;
  ${lines(loads, (r) => `var next_a${r}: vec4<f16>; var next_b${r}: vec4<f16>;`)}
  ${fragments((i, j) => `var c${i}_${j}: subgroup_matrix_result<f32, ${N}, ${M}>;`)}
  ${load('a', a, loads, '0u')}
  ${load('b', b, loads, '0u')}
  for (var k = 0u; k < p.K; k += ${DEPTH}u) {
    ${keep('a', a, loads)}
    ${keep('b', b, loads)}
    workgroupBarrier();
    if (k + ${DEPTH}u < p.K) {
      ${load('a', a, loads, `k + ${DEPTH}u`)}
      ${load('b', b, loads, `k + ${DEPTH}u`)}
    }
    ${lines(
      DEPTH / K,
      (s) => `
    ${lines(rows, (i) => `let a${s}_${i} = ${left(i, s)};`)}
    ${lines(columns, (j) => `let b${s}_${j} = ${right(j, s)};`)}
    ${fragments((i, j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${s}_${i}, b${s}_${j}, c${i}_${j});`)}`,
    )}
    workgroupBarrier();
  }
  let own = subgroup * ${M * N}u;
  ${fragments(
    (i, j) => `
  subgroupMatrixStore<row_major>(&sums, own, c${i}_${j}, ${N}u);
  workgroupBarrier();
  for (var e = lane % 32u; e < ${M * N}u; e += 32u) {
    put(item * p.strideC, row + first_m + ${i * M}u + e / ${N}u, column + first_n + ${j * N}u + e % ${N}u, sums[own + e]);
  }
  workgroupBarrier();`,
  )}
}`;
}

export const MATRICES: Sizes = {
  small: { form: withMatrices(64), side: 64, depth: DEPTH },
  large: { form: withMatrices(128), side: 128, depth: DEPTH },
};

export const unitConstants = ({ M, N, K }: MatrixUnit): Constants => ({ UNIT_M: M, UNIT_N: N, UNIT_K: K });

/** Whether fragments of this unit fill what a subgroup makes of either tile. */
export const fitsTiles = ({ M, N, K }: MatrixUnit): boolean =>
  (64 / SUBGROUPS_M) % M === 0 && (64 / SUBGROUPS_N) % N === 0 && DEPTH % K === 0;
