/**
 * @file Problems for the sequence kernels: convolution, sLSTM, LSTM, mLSTM, and the mLSTM step. Sizes are odd, documents
 * begin in the middle of rows, and gates are pushed to where a careless kernel overflows.
 */
import type { Activation as ActivationType } from '../kernels.js';
import { Activation, InputGate, LSTM_SAVED, SLSTM_SAVED } from '../kernels.js';
import type { BufferValue, Problem, Value } from './problem.js';
import { CaseRandom, byteValue, floatValue, output } from './problem.js';

/** Documents that begin at random steps, and one at the first step of the first row. */
const resets = (random: CaseRandom, B: number, T: number): BufferValue =>
  byteValue(Array.from({ length: B * T }, (_, at) => (at === 0 || random.uniform() < 0.15 ? 1 : 0)));

/** About 1e4, a multiple of 64. */
const EXTREME = 9984;

/**
 * Pre-activations of i and f for `steps` steps of each of `units` sequences, most of them near +-1e4. All are
 * multiples of 1/16, forget gates are wide open or shut, and no two input gates of a sequence agree modulo 64: so every
 * sum of log gates is exact in float32, and no maximum is a tie. What such gates cost is then the kernel's own doing.
 */
function extremeGates(random: CaseRandom, units: number, steps: number, at: (unit: number, t: number) => number) {
  const i = new Float64Array(units * steps);
  const f = new Float64Array(units * steps);
  for (let unit = 0; unit < units; unit++) {
    const first = random.below(1024);
    for (let t = 0; t < steps; t++) {
      const level = [0, 0, EXTREME, -EXTREME][random.below(4)]!;
      i[at(unit, t)] = level + ((first + 1021 * t) % 1024) / 16 - 32;
      f[at(unit, t)] = random.below(2) === 0 ? EXTREME : -EXTREME;
    }
  }
  return { i: floatValue(i), f: floatValue(f) };
}

interface ConvOptions {
  state?: boolean;
  bias?: boolean;
  reset?: boolean;
  activation?: ActivationType;
}

function conv1d(B: number, T: number, D: number, K: number, options: ConvOptions = {}): Problem {
  const { state = false, bias = false, reset = false, activation = Activation.none } = options;
  const flags = [state && 'state', bias && 'bias', reset && 'reset'].filter(Boolean).join(' ');
  const name = `B=${B} T=${T} D=${D} K=${K} activation=${activation} ${flags}`;
  const random = new CaseRandom(name);
  const values = {
    y: output(B * T * D),
    stateOut: state ? output(B * (K - 1) * D) : null,
    x: random.floats(B * T * D),
    weight: random.floats(D * K, 0.5),
    bias: bias ? random.floats(D, 0.5) : null,
    stateIn: state ? random.floats(B * (K - 1) * D) : null,
    reset: reset ? resets(random, B, T) : null,
  };
  return { name, forward: 'conv1dForward', backward: 'conv1dBackward', values: { ...values, B, T, D, K, activation } };
}

const convProblems = (): Problem[] => {
  const all = { state: true, bias: true, reset: true, activation: Activation.silu };
  return [
    conv1d(2, 19, 33, 4, all),
    conv1d(2, 19, 33, 4),
    conv1d(2, 19, 33, 4, { activation: Activation.silu, bias: true }),
    conv1d(3, 40, 130, 4, { ...all, activation: Activation.none }),
    conv1d(2, 19, 33, 1, all),
    conv1d(1, 1, 5, 4, { ...all, reset: false }),
    conv1d(2, 1, 5, 4, all),
    conv1d(2, 2, 67, 4, { ...all, reset: false }),
    conv1d(2, 9, 16, 2, all),
    conv1d(2, 0, 5, 4, all), // no steps: the state stays as it is
    conv1d(2, 11, 3, 7, all),
    conv1d(5, 70, 64, 4, { bias: true, reset: true, activation: Activation.silu }),
  ];
};

interface CellOptions {
  bias?: boolean;
  state?: 'none' | 'random' | 'empty';
  stateOut?: boolean;
  reset?: boolean;
  extreme?: boolean;
}

/** A state as a running cell holds it: n >= 1, |c| < n, |h| < 1. */
function slstmState(random: CaseRandom, units: number): BufferValue {
  const n = Array.from({ length: units }, () => 1 + Math.abs(random.normal()));
  const c = n.map((x) => x * Math.tanh(random.normal()));
  const m = n.map(() => random.normal());
  const h = n.map(() => Math.tanh(random.normal()));
  return floatValue([...c, ...n, ...m, ...h]);
}

/** The state before a sequence, written out: c = n = h = 0 and m = -infinity. */
const emptySlstmState = (units: number): BufferValue =>
  floatValue(Array.from({ length: 4 * units }, (_, at) => (Math.floor(at / units) === 2 ? -Infinity : 0)));

type Cell = 'slstm' | 'lstm';

function cellProblem(cell: Cell, B: number, T: number, NH: number, DH: number, options: CellOptions = {}): Problem {
  const { bias = false, state = 'none', stateOut = false, reset = false, extreme = false } = options;
  const flags = [
    bias && 'bias',
    `state=${state}`,
    stateOut && 'stateOut',
    reset && 'reset',
    extreme && 'extreme gates',
  ];
  const name = `B=${B} T=${T} NH=${NH} DH=${DH} ${flags.filter(Boolean).join(' ')}`;
  const random = new CaseRandom(`${cell} ${name}`);
  const [units, S] = [B * NH * DH, cell === 'slstm' ? 4 : 2];
  const width = NH * DH;
  const gates = extreme
    ? extremeGates(random, units, T, (unit, t) => (Math.floor(unit / width) * T + t) * width + (unit % width))
    : { i: random.floats(T * units), f: random.floats(T * units, 1, 1) };
  // Gates of 1e4 plus a recurrent term of 0.1 are not exact: extreme gates i and f get none.
  const recurrent = Array.from({ length: NH * 4 * DH * DH }, (_, at) =>
    extreme && Math.floor(at / (DH * DH)) % 4 < 2 ? 0 : (random.normal() * 0.7) / Math.sqrt(DH),
  );
  const randomState = cell === 'slstm' ? slstmState(random, units) : random.floats(2 * units, 0.5);
  const emptyState = cell === 'slstm' ? emptySlstmState(units) : floatValue(new Float64Array(2 * units).fill(0));
  const values: Record<string, Value> = {
    h: output(T * units),
    stateOut: stateOut ? output(S * units) : null,
    saved: output((cell === 'slstm' ? SLSTM_SAVED : LSTM_SAVED) * T * units),
    ...gates,
    z: random.floats(T * units),
    o: random.floats(T * units),
    recurrent: floatValue(recurrent),
    bias: bias ? random.floats(4 * NH * DH, 0.5) : null,
    stateIn: state === 'none' ? null : state === 'random' ? randomState : emptyState,
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    NH,
    DH,
  };
  return { name, forward: `${cell}Forward`, backward: `${cell}Backward`, values, smooth: !extreme };
}

function cellProblems(cell: Cell): Problem[] {
  const all = { bias: true, state: 'random', stateOut: true, reset: true } as const;
  const inference = cellProblem(cell, 3, 1, 4, 8, { bias: true, state: 'random', stateOut: true });
  return [
    cellProblem(cell, 2, 19, 3, 5, all),
    cellProblem(cell, 2, 19, 3, 5),
    cellProblem(cell, 2, 19, 3, 5, { ...all, reset: false }),
    cellProblem(cell, 3, 13, 1, 33, { bias: true, reset: true }),
    cellProblem(cell, 9, 7, 4, 64, { bias: true }),
    cellProblem(cell, 17, 5, 2, 16, all),
    cellProblem(cell, 2, 37, 1, 1, { ...all, reset: false }),
    cellProblem(cell, 2, 21, 2, 8, { bias: true, state: 'empty', stateOut: true }),
    cellProblem(cell, 1, 1, 2, 16, all),
    cellProblem(cell, 2, 0, 2, 8, all), // no steps: the state stays as it is
    cellProblem(cell, 2, 19, 3, 8, { extreme: true, stateOut: true, reset: true }),
    cellProblem(cell, 1, 300, 1, 12, { bias: true, stateOut: true }),
    // Gradients of the bias and of the recurrent matrix add up 20,000 steps of either sign. [3.2e-6 on the cpu device]
    { ...cellProblem(cell, 1, 20_000, 1, 4, { bias: true, stateOut: true }), amplification: 4 },
    // As in decoding: nothing saved, no backward pass.
    {
      name: `${inference.name} nothing saved`,
      forward: inference.forward,
      values: { ...inference.values, saved: null },
    },
  ];
}

interface MlstmOptions {
  gate?: InputGate;
  normalize?: boolean;
  state?: 'none' | 'random' | 'empty';
  stateOut?: boolean;
  reset?: boolean;
  extreme?: boolean;
  forgetOffset?: number;
}

type MlstmSizes = readonly [B: number, T: number, NH: number, DK: number, DV: number, L: number];

const EPS = Math.fround(1e-6);

/** Queries and keys with a common part, so that q . n is not what a cancellation leaves of it. */
const aligned = (random: CaseRandom, length: number, offset = 0.5): BufferValue => random.floats(length, 1, offset);

function mlstmInputs(random: CaseRandom, [B, T, NH, DK, DV]: MlstmSizes, options: MlstmOptions) {
  const { extreme = false, forgetOffset = 2 } = options;
  // Under extreme gates, and over a long memory, exp(-m) leaves q . n alone in the denominator.
  const offset = extreme || forgetOffset > 5 ? 1.5 : 0.5;
  const rows = B * T * NH;
  const gates = extreme
    ? extremeGates(random, B * NH, T, (unit, t) => (Math.floor(unit / NH) * T + t) * NH + (unit % NH))
    : { i: random.floats(rows), f: random.floats(rows, 1, forgetOffset) };
  return {
    q: aligned(random, rows * DK, offset),
    k: aligned(random, rows * DK, offset),
    v: random.floats(rows * DV),
    ...gates,
  };
}

function mlstmState(random: CaseRandom, heads: number, DK: number, DV: number, options: MlstmOptions) {
  const { state = 'none', gate = InputGate.exponential } = options;
  if (state === 'none') return { Cin: null, nin: null, min: null };
  const zeros = (length: number): BufferValue => floatValue(new Float64Array(length).fill(0));
  const m = (value: () => number): BufferValue => floatValue(Array.from({ length: heads }, value));
  const isSigmoid = gate === InputGate.sigmoid;
  if (state === 'empty') {
    return { Cin: zeros(heads * DK * DV), nin: zeros(heads * DK), min: m(() => (isSigmoid ? 0 : -Infinity)) };
  }
  return {
    Cin: random.floats(heads * DK * DV),
    nin: aligned(random, heads * DK),
    // Multiples of 1/16 like the extreme gates.
    min: m(() => (isSigmoid ? 0 : random.below(64) / 16 - 2)),
  };
}

function mlstmName(options: MlstmOptions): string {
  const {
    gate = InputGate.exponential,
    normalize = true,
    state = 'none',
    stateOut,
    reset,
    extreme,
    forgetOffset,
  } = options;
  const flags = [
    gate === InputGate.sigmoid ? 'sigmoid' : 'exponential',
    !normalize && 'unnormalised',
    `state=${state}`,
    stateOut && 'stateOut',
    reset && 'reset',
    extreme && 'extreme gates',
    forgetOffset !== undefined && `forget gate around ${forgetOffset}`,
  ];
  return flags.filter(Boolean).join(' ');
}

function mlstm([B, T, NH, DK, DV, L]: MlstmSizes, options: MlstmOptions = {}): Problem {
  const { gate = InputGate.exponential, normalize = true, stateOut = false, reset = false, extreme = false } = options;
  const name = `B=${B} T=${T} NH=${NH} DK=${DK} DV=${DV} L=${L} ${mlstmName(options)}`;
  const random = new CaseRandom(name);
  const [rows, heads] = [B * T * NH, B * NH];
  // Of many steps some stand closer to |q . n| = exp(-m) than a finite difference is wide.
  const smooth = !extreme && T < 1000;
  const values: Record<string, Value> = {
    h: output(rows * DV),
    m: output(rows),
    denominator: output(rows),
    Cout: stateOut ? output(heads * DK * DV) : null,
    nout: stateOut ? output(heads * DK) : null,
    mout: stateOut ? output(heads) : null,
    ...mlstmInputs(random, [B, T, NH, DK, DV, L], options),
    ...mlstmState(random, heads, DK, DV, options),
    reset: reset ? resets(random, B, T) : null,
    B,
    T,
    NH,
    DK,
    DV,
    L,
    eps: EPS,
    inputGate: gate,
    normalize,
  };
  return { name, forward: 'mlstmForward', backward: 'mlstmBackward', values, smooth };
}

function mlstmProblems(): Problem[] {
  const { sigmoid } = InputGate;
  const all = { state: 'random', stateOut: true, reset: true } as const;
  const gates: MlstmOptions[] = [{}, { normalize: false }, { gate: sigmoid }, { gate: sigmoid, normalize: false }];
  return [
    ...gates.flatMap((gate) => [
      mlstm([2, 19, 3, 5, 7, 8], { ...gate, ...all }),
      mlstm([2, 19, 3, 5, 7, 8], gate),
      mlstm([1, 37, 2, 16, 32, 16], { ...gate, state: 'random', stateOut: true }),
      mlstm([2, 1, 3, 8, 8, 64], { ...gate, ...all }),
      mlstm([2, 70, 1, 9, 4, 32], { ...gate, reset: true, stateOut: true }),
      mlstm([1, 19, 2, 4, 4, 8], { ...gate, state: 'empty', stateOut: true }),
    ]),
    // One chunk that is longer than the sequence, chunks of one, chunks that fill it exactly.
    mlstm([1, 19, 2, 8, 8, 64], all),
    mlstm([1, 19, 2, 8, 8, 1], all),
    mlstm([2, 64, 2, 16, 16, 16], { ...all, reset: false }),
    mlstm([2, 0, 2, 8, 8, 16], all), // no steps: the state stays as it is
    // The sizes of a small model.
    mlstm([2, 130, 2, 64, 64, 64], { stateOut: true }),
    mlstm([1, 96, 1, 33, 65, 32], all),
    // Long memory: log f of all steps adds up to almost nothing; short memory: it runs away.
    mlstm([1, 200, 2, 8, 8, 64], { stateOut: true, forgetOffset: 12 }),
    mlstm([1, 200, 2, 8, 8, 64], { stateOut: true, forgetOffset: -12 }),
    mlstm([1, 20_000, 1, 4, 4, 64], { stateOut: true }),
    mlstm([2, 19, 3, 8, 8, 8], { extreme: true, stateOut: true }),
    mlstm([2, 70, 2, 8, 8, 32], { extreme: true, stateOut: true, reset: true }),
    mlstm([2, 37, 2, 8, 8, 16], { gate: sigmoid, extreme: true, stateOut: true }),
  ];
}

function mlstmStep(B: number, NH: number, DK: number, DV: number, inPlace: boolean, options: MlstmOptions): Problem {
  const { gate = InputGate.exponential, normalize = true } = options;
  const name = `B=${B} NH=${NH} DK=${DK} DV=${DV} ${mlstmName(options)}${inPlace ? ' in place' : ''}`;
  const random = new CaseRandom(name);
  const heads = B * NH;
  const values: Record<string, Value> = {
    h: output(heads * DV),
    Cout: output(heads * DK * DV),
    nout: output(heads * DK),
    mout: output(heads),
    ...mlstmInputs(random, [B, 1, NH, DK, DV, 1], options),
    ...mlstmState(random, heads, DK, DV, options),
    B,
    NH,
    DK,
    DV,
    eps: EPS,
    inputGate: gate,
    normalize,
  };
  const problem = { name, forward: 'mlstmStep', values } as const;
  return inPlace ? { ...problem, inPlace: { Cout: 'Cin', nout: 'nin', mout: 'min' } } : problem;
}

const mlstmStepProblems = (): Problem[] =>
  [false, true].flatMap((inPlace) => [
    mlstmStep(2, 3, 5, 7, inPlace, { state: 'random' }),
    mlstmStep(2, 3, 5, 7, inPlace, { state: 'empty' }),
    mlstmStep(1, 4, 64, 64, inPlace, { state: 'random' }),
    mlstmStep(3, 2, 33, 17, inPlace, { state: 'random', normalize: false }),
    mlstmStep(2, 3, 16, 32, inPlace, { state: 'random', gate: InputGate.sigmoid }),
    mlstmStep(2, 3, 16, 32, inPlace, { state: 'random', gate: InputGate.sigmoid, normalize: false }),
    mlstmStep(4, 4, 8, 8, inPlace, { state: 'random', extreme: true }),
  ]);

/** Every problem of the sequence kernels. */
export const sequenceProblems = (): Problem[] => [
  ...convProblems(),
  ...cellProblems('slstm'),
  ...cellProblems('lstm'),
  ...mlstmProblems(),
  ...mlstmStepProblems(),
];
