/**
 * @file Problems for matrices in storage formats. Rows are drawn at random, bytes that no weight uses are random too:
 * a kernel must not depend on them.
 */
import { WeightFormat } from '../kernels.js';
import { isScaled, packedRowBytes, scaleCount, scaleOffset } from '../packing.js';
import type { BufferValue, Problem } from './problem.js';
import { byteOutput, byteValue, CaseRandom, floatValue, intValue, output } from './problem.js';

const { bf16, f16, int8, int4 } = WeightFormat;

/** Every format with the groups that its kernels may treat differently. */
const STORED: readonly (readonly [format: WeightFormat, group: number])[] = [
  [bf16, 0],
  [f16, 0],
  [int8, 0],
  [int8, 16],
  [int8, 48],
  [int8, 128],
  [int4, 16],
  [int4, 32],
  [int4, 48],
  [int4, 64],
  [int4, 128],
  [int4, 256],
  [int4, 272],
];

const nameOf = (format: WeightFormat, group: number): string =>
  `${['bf16', 'f16', 'int8', 'int4'][format]!}${group === 0 ? '' : ` group=${group}`}`;

/** R rows of C random weights of the size of `scale`. */
function randomRows(random: CaseRandom, R: number, C: number, format: WeightFormat, group: number, scale: number) {
  const rowBytes = packedRowBytes(format, C, group);
  const rows = Uint8Array.from({ length: R * rowBytes }, () => random.below(256));
  const view = new DataView(rows.buffer);
  // Exponents near that of the scale; the fraction and the sign are what the bytes say.
  const setExponent = (at: number, exponent: number, fraction: number, base: number): void => {
    const others = view.getUint16(at, true) & (0x8000 | (2 ** fraction - 1));
    view.setUint16(at, others | ((base + exponent) << fraction), true);
  };
  const power = Math.round(Math.log2(scale));
  for (let r = 0; r < R; r++) {
    const row = r * rowBytes;
    if (isScaled(format)) {
      const scales = row + scaleOffset(format, C);
      const codes = format === int8 ? 6 : 2;
      for (let g = 0; g < scaleCount(format, C, group); g++) {
        setExponent(scales + 2 * g, power - codes - random.below(2), 7, 127);
      }
    } else {
      for (let c = 0; c < C; c++) {
        if (format === bf16) setExponent(row + 2 * c, power - random.below(4), 7, 127);
        else setExponent(row + 2 * c, power - random.below(4), 10, 15);
      }
    }
  }
  return byteValue(rows);
}

interface LinearOptions {
  readonly bias?: boolean;
  /** The mean of x, 0 by default, where its spread is 1. */
  readonly offset?: number;
  readonly xScale?: number;
  /** One number in 50 is so many times larger. */
  readonly outliers?: number;
}

function linear(N: number, O: number, I: number, format: WeightFormat, group: number, options: LinearOptions = {}) {
  const { bias = false, offset = 0, xScale = 1, outliers = 1 } = options;
  const flags = [
    bias && 'bias',
    offset !== 0 && `offset=${offset}`,
    xScale !== 1 && `x of ${xScale}`,
    outliers !== 1 && `outliers`,
  ].filter(Boolean);
  const name = [`N=${N} O=${O} I=${I} ${nameOf(format, group)}`, ...flags].join(' ');
  const random = new CaseRandom(name);
  const numberOfX = (): number => xScale * (offset + random.normal()) * (random.below(50) === 0 ? outliers : 1);
  const values = {
    y: output(N * O),
    x: floatValue(Array.from({ length: N * I }, numberOfX)),
    weight: randomRows(random, O, I, format, group, 2 ** -3),
    bias: bias ? random.floats(O, xScale) : null,
  };
  return { name, forward: 'linearPacked', values: { ...values, N, O, I, format, group } } satisfies Problem;
}

const linearProblems = (): Problem[] =>
  STORED.flatMap(([format, group]) => [
    linear(1, 1, 1, format, group),
    linear(1, 9, 300, format, group, { bias: true }),
    linear(1, 7, 512, format, group, { offset: 3 }),
    linear(2, 5, 128, format, group),
    linear(7, 6, 261, format, group, { bias: true }),
    linear(4, 3, 143, format, group, { xScale: 1e4 }),
    linear(3, 4, 640, format, group, { outliers: 1000 }),
    linear(1, 4, 256, format, group, { xScale: 0 }),
    linear(33, 37, 131, format, group, { bias: true }),
    linear(17, 19, 1030, format, group),
  ]);

/** Weights of very different sizes: outliers, groups of zeros, and numbers that are hardly there. */
function roughWeights(random: CaseRandom, length: number): BufferValue {
  return floatValue(
    Array.from({ length }, (_, n) => {
      if (Math.floor(n / 32) % 5 === 3) return 0;
      const size = [1, 1, 1, 1, 1, 1, 1, 1, 100, 1e-6, 1e-35, 0][random.below(12)]!;
      return size * random.normal();
    }),
  );
}

function packProblems(): Problem[] {
  const sizes = [
    [1, 1],
    [5, 37],
    [3, 130],
    [2, 513],
  ] as const;
  return STORED.flatMap(([format, group]) =>
    sizes.flatMap(([R, C]): Problem[] => {
      const name = `R=${R} C=${C} ${nameOf(format, group)}`;
      const random = new CaseRandom(`pack ${name}`);
      const packed = byteOutput(R * packedRowBytes(format, C, group));
      const of = (label: string, x: BufferValue): Problem => ({
        name: `${name}${label}`,
        forward: 'packRows',
        values: { packed, x, R, C, format, group },
      });
      const values = { y: output(R * C), packed: randomRows(random, R, C, format, group, 1), R, C, format, group };
      return [
        of('', random.floats(R * C)),
        of(' rough', roughWeights(random, R * C)),
        { name, forward: 'unpackRows', values },
      ];
    }),
  );
}

const embeddingProblems = (): Problem[] =>
  STORED.map(([format, group]) => {
    const [N, D, V] = [9, 133, 11];
    const name = `N=${N} D=${D} V=${V} ${nameOf(format, group)}`;
    const random = new CaseRandom(`embedding ${name}`);
    const tokens = intValue(Array.from({ length: N }, (_, n) => (n === 0 ? V - 1 : random.below(V))));
    const table = randomRows(random, V, D, format, group, 1);
    return { name, forward: 'embeddingPacked', values: { y: output(N * D), tokens, table, N, D, V, format, group } };
  });

/** Every problem of the kernels for storage formats. */
export const packedProblems = (): Problem[] => [...packProblems(), ...linearProblems(), ...embeddingProblems()];
