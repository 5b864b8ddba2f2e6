/**
 * @file Problems for the kernels without time: elementwise functions, matrix products, norms, the ends of a language
 * model, the optimizer. The sequence kernels are in `cases-sequence.ts`.
 */
import type { Activation as ActivationType, KernelName } from '../kernels.js';
import { Activation } from '../kernels.js';
import type { BufferValue, Problem } from './problem.js';
import { CaseRandom, floatValue, intValue, output } from './problem.js';

const activations = Object.entries(Activation) as [string, ActivationType][];

/** Sizes below, at and across vector widths and thread blocks. */
const LENGTHS = [0, 1, 37, 1003, 40_007];

/** Arguments at which an activation written carelessly overflows, cancels or loses its sign. */
const HARD_POSITIVE = [1e-30, 1e-6, 1e-3, 0.03, 0.5, 1, 2.5, 5, 8.5, 10, 13, 20, 50, 87, 88.5, 100, 1e4];
const HARD_NEGATIVE = [...HARD_POSITIVE, 1e30].map((x) => -x);
const HARD = [0, -0, ...HARD_POSITIVE, ...HARD_NEGATIVE];

function simpleProblemsOf(N: number): Problem[] {
  const name = `N=${N}`;
  const random = new CaseRandom(name);
  const [x, a, b] = [random.floats(N), random.floats(N), random.floats(N)];
  // Offset, so that its sum is not what is left of a cancellation.
  const positive = random.floats(N, 1, 0.5);
  const y = output(N);
  const mul = { forward: 'mulForward', backward: 'mulBackward', values: { y, a, b, N } } as const;
  const dropout = (rate: number): Problem => {
    const values = { y, x, N, rate, key0: 0xdeadbeef, key1: 0x9e3779b9 };
    return { name: `${name} rate=${rate}`, forward: 'dropoutForward', backward: 'dropoutBackward', values };
  };
  const sum = { y: output(1), x: positive, N };
  return [
    { name, forward: 'fill', values: { y, value: -1.5, N } },
    { name, forward: 'copy', values: { y, x, N } },
    { name, forward: 'accumulate', values: { y: a, x, alpha: -0.75, N } },
    { name, forward: 'add', values: { y, a, b, N } },
    { name, ...mul },
    { name: `${name} without da`, ...mul, unwanted: ['da'] },
    { name: `${name} without db`, ...mul, unwanted: ['db'] },
    dropout(0),
    dropout(0.125),
    dropout(0.3),
    { name, forward: 'sumForward', backward: 'sumBackward', values: { ...sum, scale: 0.375 } },
    { name, forward: 'sumOfSquares', values: sum },
  ];
}

function activationProblems(): Problem[] {
  return activations.flatMap(([label, activation]) => {
    // Above 88.7 exp is infinite, and a gradient that is added to it says nothing.
    const most = activation === Activation.exp ? 87 : Infinity;
    // Far out neighbouring floats are whole turns apart.
    const least = activation === Activation.sine ? -1e6 : -Infinity;
    const far = HARD.filter((x) => Math.abs(x) > 20 && x <= most && x >= least);
    const inputs: [string, BufferValue, boolean][] = [
      ...[1, 37, 1003].map((N): [string, BufferValue, boolean] => {
        const random = new CaseRandom(`${label} ${N}`);
        return [`${label} N=${N}`, random.floats(N, 2), true];
      }),
      [`${label} at hard arguments up to 20`, floatValue(HARD.filter((x) => Math.abs(x) <= 20)), false],
      [`${label} at hard arguments beyond 20`, floatValue(far), false],
      [`${label} at negative arguments`, floatValue(HARD_NEGATIVE.filter((x) => x >= -13)), false],
    ];
    return inputs.flatMap(([name, x, smooth]): Problem[] => {
      const N = x.length;
      const up = new CaseRandom(`${name} up`).floats(N);
      return [
        {
          name,
          smooth,
          forward: 'activationForward',
          backward: 'activationBackward',
          values: { y: output(N), x, N, activation },
        },
        {
          name,
          smooth,
          forward: 'gatedActivationForward',
          backward: 'gatedActivationBackward',
          values: { y: output(N), gate: x, up, N, activation },
        },
      ];
    });
  });
}

function softCapProblems(): Problem[] {
  const pair = { forward: 'softCapForward', backward: 'softCapBackward' } as const;
  const of = (name: string, x: BufferValue, cap: number): Problem => {
    const N = x.length;
    return { name: `${name} cap=${cap}`, ...pair, values: { y: output(N), x, N, cap } };
  };
  return [
    ...[0, 1, 37, 1003, 40_007].map((N) => of(`N=${N}`, new CaseRandom(`soft cap ${N}`).floats(N, 12), 15)),
    of('a small cap', new CaseRandom('a small cap').floats(101), 0.5),
    // Differences see nothing of a gradient that is far below the others, nor of a function near 1e30.
    { ...of('at hard arguments up to 20', floatValue(HARD.filter((x) => Math.abs(x) <= 20)), 15), smooth: false },
    { ...of('at hard arguments beyond 20', floatValue(HARD.filter((x) => Math.abs(x) > 20)), 30), smooth: false },
  ];
}

function skipGateProblems(): Problem[] {
  const sizes = [
    [1, 1],
    [5, 33],
    [130, 67],
    [3, 256],
  ] as const;
  return sizes.map(([N, D]) => {
    const name = `N=${N} D=${D}`;
    const random = new CaseRandom(name);
    const [h, c, z] = [random.floats(N * D), random.floats(N * D), random.floats(N * D, 2)];
    const skip = random.floats(D, 0.5, 1);
    return {
      name,
      forward: 'skipGateForward',
      backward: 'skipGateBackward',
      values: { y: output(N * D), h, c, skip, z, N, D },
    };
  });
}

interface MatmulOptions {
  bias?: boolean;
  transA?: boolean;
  transB?: boolean;
  /** Unused elements at the end of each row of a, b and c. */
  gaps?: readonly [number, number, number];
  accumulate?: boolean;
  activation?: ActivationType;
}

function matmul(M: number, N: number, K: number, options: MatmulOptions = {}): Problem {
  const { bias = false, transA = false, transB = false, gaps = [0, 0, 0], accumulate = false } = options;
  const { activation = Activation.none } = options;
  const flags = [
    bias && 'bias',
    transA && 'transA',
    transB && 'transB',
    accumulate && 'accumulate',
    gaps[2] > 0 && 'gaps',
  ];
  const name = [`M=${M} N=${N} K=${K} activation=${activation}`, ...flags.filter(Boolean)].join(' ');
  const random = new CaseRandom(name);
  const [lda, ldb, ldc] = [(transA ? M : K) + gaps[0], (transB ? K : N) + gaps[1], N + gaps[2]];
  const span = (rows: number, columns: number, stride: number): number =>
    rows > 0 ? (rows - 1) * stride + columns : 0;
  const a = random.floats(transA ? span(K, M, lda) : span(M, K, lda));
  const b = random.floats(transB ? span(N, K, ldb) : span(K, N, ldb), 1 / Math.sqrt(Math.max(1, K)));
  const c = accumulate ? random.floats(span(M, N, ldc)) : output(span(M, N, ldc));
  const values = { c, a, b, bias: bias ? random.floats(N) : null };
  return {
    name,
    forward: 'matmul',
    values: { ...values, M, N, K, transA, transB, lda, ldb, ldc, accumulate, activation },
  };
}

function matmulProblems(): Problem[] {
  const transposes = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })));
  return [
    ...transposes.flatMap((transpose) => [
      matmul(1, 1, 1, transpose),
      matmul(3, 5, 7, { ...transpose, bias: true }),
      matmul(17, 33, 9, { ...transpose, accumulate: true }),
      matmul(17, 33, 9, { ...transpose, bias: true, accumulate: true, gaps: [3, 5, 2] }),
      matmul(70, 67, 300, { ...transpose, bias: true, activation: Activation.silu, gaps: [1, 2, 3] }),
      matmul(131, 259, 513, { ...transpose, accumulate: true }),
      // One row or one column: decoding, and gates.
      matmul(1, 200, 67, { ...transpose, bias: true }),
      matmul(200, 1, 67, { ...transpose, bias: true }),
      matmul(33, 4, 700, transpose),
      // No inner dimension: c = activation(bias).
      matmul(5, 6, 0, { ...transpose, bias: true, activation: Activation.sigmoid }),
    ]),
    ...activations.map(([, activation]) => matmul(19, 45, 31, { activation, bias: true })),
    matmul(0, 5, 6),
    matmul(5, 0, 6),
  ];
}

function headwiseProblems(): Problem[] {
  const sizes = [
    [1, 1, 1, 1],
    [37, 3, 4, 4],
    [5, 2, 33, 17],
    [130, 32, 4, 4],
    [9, 4, 16, 64],
    [3, 5, 8, 8],
  ] as const;
  return sizes.flatMap(([N, G, O, I]) => {
    const name = `N=${N} G=${G} O=${O} I=${I}`;
    const random = new CaseRandom(name);
    const [x, weight] = [random.floats(N * G * I), random.floats(G * O * I, 1 / Math.sqrt(I))];
    const values = { y: output(N * G * O), x, weight, N, G, O, I };
    const pair = { forward: 'headwiseLinearForward', backward: 'headwiseLinearBackward' } as const;
    return [
      { ...pair, name: `${name} bias`, values: { ...values, bias: random.floats(G * O) } },
      { ...pair, name: `${name} without bias and dx`, values: { ...values, bias: null }, unwanted: ['dx'] },
    ];
  });
}

const biasProblems = (): Problem[] =>
  (
    [
      [1, 1],
      [37, 33],
      [300, 130],
      [2000, 16],
    ] as const
  ).map(([N, D]) => {
    const name = `N=${N} D=${D}`;
    const random = new CaseRandom(name);
    // It has no forward kernel of its own; gradients.test.ts checks it against the bias of matmul.
    return { name, forward: 'biasBackward', values: { dbias: random.floats(D), dy: random.floats(N * D), N, D } };
  });

function normProblems(): Problem[] {
  const sizes = [
    [37, 1, 33],
    [5, 3, 7],
    [9, 4, 130],
    [3, 1, 1027],
    [1, 1, 5],
    [70, 2, 16],
  ] as const;
  return sizes.flatMap(([N, G, D], index) => {
    const weightOffset = index % 2;
    const name = `N=${N} G=${G} D=${D} weightOffset=${weightOffset}`;
    const random = new CaseRandom(name);
    const x = random.floats(N * G * D, 1.5, 2);
    const weight = random.floats(G * D, 0.3, 1 - weightOffset);
    const eps = Math.fround(1e-5);
    const [y, mean, rstd] = [output(N * G * D), output(N * G), output(N * G)];
    const layernorm = { forward: 'layernormForward', backward: 'layernormBackward' } as const;
    const values = { y, mean, rstd, x, weight, N, G, D, eps, weightOffset };
    return [
      { ...layernorm, name: `${name} bias`, values: { ...values, bias: random.floats(G * D) } },
      { ...layernorm, name: `${name} without bias`, values: { ...values, bias: null } },
      {
        name,
        forward: 'rmsnormForward',
        backward: 'rmsnormBackward',
        values: { y, rstd, x, weight, N, G, D, eps, weightOffset },
      },
    ];
  });
}

const embeddingProblems = (): Problem[] =>
  (
    [
      [37, 33, 11],
      [1, 1, 1],
      [130, 64, 300],
    ] as const
  ).map(([N, D, V]) => {
    const name = `N=${N} D=${D} V=${V}`;
    const random = new CaseRandom(name);
    const tokens = intValue(Array.from({ length: N }, () => random.below(V)));
    const values = { y: output(N * D), tokens, table: random.floats(V * D), N, D, V };
    return { name, forward: 'embeddingForward', backward: 'embeddingBackward', values };
  });

function crossEntropy(
  label: string,
  N: number,
  D: number,
  V: number,
  scale: number,
  ignored: (n: number) => boolean,
  softCap = 0,
): Problem {
  const name = `${label} N=${N} D=${D} V=${V} softCap=${softCap}`;
  const random = new CaseRandom(name);
  const targets = intValue(Array.from({ length: N }, (_, n) => (ignored(n) ? -1 : random.below(V))));
  const [x, weight] = [random.floats(N * D), random.floats(V * D, scale / Math.sqrt(D))];
  const values = { loss: output(N), logsumexp: output(N), x, weight, targets, N, D, V, softCap };
  return { name, forward: 'linearCrossEntropyForward', backward: 'linearCrossEntropyBackward', values };
}

/** Only its loss, which is 0: its gradient is 0 too, and what rounding leaves of it is no number to compare with. */
function vocabularyOfOne(): Problem {
  const { name, forward, values } = crossEntropy('a vocabulary of one', 4, 3, 1, 1, () => false);
  return { name, forward, values };
}

/** The same problem for the kernel of both passes too. */
function withBothPasses(problem: Problem): Problem[] {
  if (problem.backward === undefined) return [problem];
  const name = `both passes: ${problem.name}`;
  return [problem, { ...problem, name, backward: 'linearCrossEntropyForwardBackward' }];
}

const crossEntropyProblems = (): Problem[] => crossEntropyShapes().flatMap(withBothPasses);

const crossEntropyShapes = (): Problem[] => [
  crossEntropy('plain', 37, 33, 103, 1, () => false),
  crossEntropy('some ignored', 37, 33, 103, 1, (n) => n % 3 === 0),
  crossEntropy('all ignored', 5, 7, 11, 1, () => true),
  crossEntropy('one token', 1, 1, 2, 1, () => false),
  vocabularyOfOne(),
  // exp() of such logits overflows float32. A logit or logsumexp of 200 in float32 is off by 200 * 3e-8 to 200 * 6e-8,
  // and so is each probability of the backward pass. [5e-6 on the cpu device]
  { ...crossEntropy('logits of up to 200', 19, 16, 67, 60, (n) => n === 4), amplification: 15 },
  crossEntropy('many chunks', 65, 64, 2053, 1, (n) => n === 64),
  crossEntropy('capped', 37, 33, 103, 8, (n) => n % 5 === 0, 3),
  crossEntropy('capped, one token', 1, 3, 5, 1, () => false, 0.75),
  crossEntropy('capped, many chunks', 65, 64, 2053, 4, (n) => n === 64, 30),
  // Products of up to 1e4, most of them at the cap. Those that are not are what is left of a cancellation, off by 1e4 *
  // 3e-8 of 30. [8e-6 on the cpu device]
  { ...crossEntropy('capped far out', 19, 16, 67, 3000, (n) => n === 4, 30), smooth: false, amplification: 20 },
  crossEntropy('many rows', 300, 16, 65, 1, (n) => n % 50 === 7),
];

function adamwProblems(): Problem[] {
  return [1, 37, 1003, 40_007].flatMap((N) =>
    [0, 0.125].map((weightDecay): Problem => {
      const name = `N=${N} weightDecay=${weightDecay}`;
      const random = new CaseRandom(name);
      const [parameter, m, gradient] = [random.floats(N), random.floats(N, 0.01), random.floats(N, 0.1)];
      const v = floatValue(Array.from({ length: N }, () => random.normal() ** 2 * 1e-3));
      // Numbers of float32, so that 1 - beta is the same on every device.
      const hyper = { gradScale: 0.5, lr: Math.fround(0.01), beta1: 0.875, beta2: 0.9921875, eps: Math.fround(1e-8) };
      const values = { parameter, m, v, gradient, N, ...hyper, weightDecay, correction1: 0.25, correction2: 0.03125 };
      return { name, forward: 'adamw' satisfies KernelName, values };
    }),
  );
}

/** Every problem of the kernels without time. */
export const partProblems = (): Problem[] => [
  ...LENGTHS.flatMap(simpleProblemsOf),
  ...activationProblems(),
  ...softCapProblems(),
  ...skipGateProblems(),
  ...matmulProblems(),
  ...biasProblems(),
  ...headwiseProblems(),
  ...normProblems(),
  ...embeddingProblems(),
  ...crossEntropyProblems(),
  ...adamwProblems(),
];
