/**
 * @file The matrix product of the WebGPU device for a GPU in software, where four neighbouring invocations are one vector
 * of the processor, each access to memory costs as much as a dozen products and a barrier far more. So four invocations, a
 * quad, make a tile in registers, and every load is of four neighbouring numbers, which the quad then exchanges.
 */
import { activations } from '../math.js';
import { lines, program, type Constants } from '../program.js';
import { PUT, SIZES } from './matmul-parts.js';

/** Products so large that tiles of 32 rows are worth a second of compiling. */
const LARGE = 2 ** 23;

/** Rows, and columns in fours, of the tile of a quad. */
export const quadTile = (M: number, N: number, K: number): { ROWS: number; COLUMNS: number } => ({
  ROWS: M >= 64 && N > 16 && M * N * K >= LARGE ? 32 : M > 4 ? 8 : M > 2 ? 4 : Math.max(M, 1),
  COLUMNS: N > 16 ? 8 : N > 8 ? 4 : N > 4 ? 2 : 1,
});

/** v0..v3 as rows of a matrix of 4 x 4 with a column in each invocation: w0..w3, transposed. */
const TRANSPOSE = `
fn transposed(v0: f32, v1: f32, v2: f32, v3: f32, lane: u32) -> vec4<f32> {
  let isOdd = (lane & 1u) != 0u;
  let isHigh = (lane & 2u) != 0u;
  let t0 = select(v0, quadSwapX(v1), isOdd);
  let t1 = select(quadSwapX(v0), v1, isOdd);
  let t2 = select(v2, quadSwapX(v3), isOdd);
  let t3 = select(quadSwapX(v2), v3, isOdd);
  return vec4<f32>(select(t0, quadSwapY(t2), isHigh), select(t1, quadSwapY(t3), isHigh),
    select(quadSwapY(t0), t2, isHigh), select(quadSwapY(t1), t3, isHigh));
}
`;

/**
 * Four steps along K: a vector of them for each of the quad's columns, and for each row one that is equal in the quad. So a
 * sum is touched once in four steps. Rows and columns outside are read as the last ones inside, and not written.
 */
function fourSteps({ ROWS, COLUMNS, TRANS_A, TRANS_B }: Constants): string {
  const [rows, columns] = [Number(ROWS), Number(COLUMNS)];
  const vector = (element: (s: number) => string): string => `vec4<f32>(${[0, 1, 2, 3].map(element).join(', ')})`;
  const b = lines(columns, (j) =>
    TRANS_B
      ? `let b${j} = transposed(${[0, 1, 2, 3].map((q) => `b_at(first${j}_${q} + k + lane)`).join(', ')}, lane);`
      : `let b${j} = ${vector((s) => `b_at(base_b + (k + ${s}u) * p.ldb + column${j})`)};`,
  );
  const across = (v: number): string => `min(m + ${4 * v}u + lane, p.M - 1u)`;
  const loads = TRANS_A
    ? lines(4, (s) =>
        lines(Math.ceil(rows / 4), (v) => `let a${v}_${s} = a_at(base_a + (k + ${s}u) * p.lda + ${across(v)});`),
      )
    : '';
  const a = (i: number): string =>
    TRANS_A
      ? `let a = ${vector((s) => `quadBroadcast(a${Math.floor(i / 4)}_${s}, ${i % 4}u)`)};`
      : `let own = a_at(row${i} + k + lane); let a = ${vector((s) => `quadBroadcast(own, ${s}u)`)};`;
  return `${b}\n${loads}\n${lines(rows, (i) => `{ ${a(i)} ${lines(columns, (j) => `c${i}_${j} += dot(a, b${j});`)} }`)}`;
}

/** One step along K, of those that are no four. */
const oneStep = ({ ROWS, COLUMNS, TRANS_A, TRANS_B }: Constants): string => `
${lines(Number(COLUMNS), (j) => `let b${j} = b_at(base_b + ${TRANS_B ? `column${j} * p.ldb + k` : `k * p.ldb + column${j}`});`)}
${lines(
  Number(ROWS),
  (i) => `let a${i} = a_at(${TRANS_A ? `base_a + k * p.lda + min(m + ${i}u, p.M - 1u)` : `row${i} + k`});
${lines(Number(COLUMNS), (j) => `c${i}_${j} += a${i} * b${j};`)}`,
)}`;

/** A quad makes ROWS x 4 COLUMNS elements of c; invocation `lane` every fourth column. */
export const QUADS = program({
  name: 'matmul of quads',
  writes: 'c',
  reads: 'a b bias',
  sizes: SIZES,
  threads: 4,
  solo: true,
  code(constants) {
    const [rows, columns] = [Number(constants['ROWS']), Number(constants['COLUMNS'])];
    const sums = Array.from({ length: rows * columns }, (_, e) => `c${Math.floor(e / columns)}_${e % columns}`);
    const { TRANS_A, TRANS_B } = constants;
    return `${activations(constants)}${PUT}${TRANS_B ? TRANSPOSE : ''}
fn kernel(group: u32, lane: u32) {
  // Neighbouring quads have the columns in common.
  let item = group / (p.tilesM * p.tilesN);
  let m = (group % p.tilesM) * ROWS;
  let n = ((group / p.tilesM) % p.tilesN) * 4u * COLUMNS;
  let base_a = item * p.strideA;
  let base_b = item * p.strideB;
  ${TRANS_A ? '' : lines(rows, (i) => `let row${i} = base_a + min(m + ${i}u, p.M - 1u) * p.lda;`)}
  ${lines(columns, (j) => `let column${j} = min(n + ${4 * j}u + lane, p.N - 1u);`)}
  ${TRANS_B ? lines(columns, (j) => lines(4, (q) => `let first${j}_${q} = base_b + min(n + ${4 * j + q}u, p.N - 1u) * p.ldb;`)) : ''}
  ${sums.map((sum) => `var ${sum} = 0.0;`).join('\n')}
  var k = 0u;
  for (; k + 4u <= p.K; k += 4u) {
    ${fourSteps(constants)}
  }
  for (; k < p.K; k++) {
    ${oneStep(constants)}
  }
  var sums = array<f32, ${rows * columns}>(${sums.join()});
  for (var e = 0u; e < ROWS * COLUMNS; e++) {
    put(item * p.strideC, m + e / COLUMNS, n + 4u * (e % COLUMNS) + lane, sums[e]);
  }
}`;
  },
});
