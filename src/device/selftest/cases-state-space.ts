/**
 * @file Problems for state-space models: discretisation in all its forms, kernels from short to long memory, and the
 * scans, diagonal and of S4, with states and resets. Growing modes are there where a kernel allows them.
 */
import { SsmRealPart } from '../kernels-state-space.js';
import type { BufferValue, Problem } from './problem.js';
import { CaseRandom, byteValue, floatValue, output } from './problem.js';

/** [2,N,D] of z = dt A: memories from `shortest` to `longest` steps, any angle. */
function steps(random: CaseRandom, size: number, longest: number, growing = false): BufferValue {
  const re = Array.from({ length: size }, () => -1 / longest ** random.uniform());
  const signed = re.map((x) => (growing && random.uniform() < 0.3 ? -x : x));
  return floatValue([...signed, ...re.map(() => 3 * random.normal())]);
}

const borders = (random: CaseRandom, B: number, T: number): BufferValue =>
  byteValue(Array.from({ length: B * T }, (_, at) => (at === 0 || random.uniform() < 0.15 ? 1 : 0)));

function discretize(N: number, D: number, realPart: SsmRealPart, L: number): Problem {
  const name = `N=${N} D=${D} realPart=${realPart} L=${L}`;
  const random = new CaseRandom(name);
  const size = N * D;
  const offset = realPart === SsmRealPart.negativeExp ? -0.7 : L > 0 ? -0.2 : -0.5;
  const re = Array.from({ length: size }, () => offset + 0.4 * random.normal());
  // Angles from tiny ones, where (e^z - 1) / z needs its series, to several turns per step.
  const im = re.map(() => 3 * random.normal() * 10 ** random.below(3));
  const values = {
    c: output(2 * size),
    z: output(2 * size),
    A: floatValue([...re, ...im]),
    C: random.floats(2 * size),
    logDt: floatValue(Array.from({ length: D }, () => Math.log(0.001) * random.uniform())),
  };
  return {
    name,
    forward: 'ssmDiscretizeForward',
    backward: 'ssmDiscretizeBackward',
    values: { ...values, N, D, realPart, L, scale: 1.5 },
    // A clamped real part has a kink.
    smooth: realPart !== SsmRealPart.clamped,
  };
}

function kernel(L: number, N: number, D: number, longest: number, anchored = false, unwanted: string[] = []): Problem {
  const name = `L=${L} N=${N} D=${D} longest=${longest}${anchored ? ' anchored' : ''}${unwanted.map((d) => ` no ${d}`).join('')}`;
  const random = new CaseRandom(name);
  const values = {
    kernel: output(L * D),
    c: random.floats(2 * N * D),
    z: steps(random, N * D, longest, anchored),
  };
  const sizes = { L, N, D, anchored };
  return {
    name,
    forward: 'ssmKernelForward',
    backward: 'ssmKernelBackward',
    values: { ...values, ...sizes },
    unwanted,
  };
}

interface ScanOptions {
  state?: boolean;
  skip?: boolean;
  reset?: boolean;
  longest?: number;
}

function scan(B: number, T: number, N: number, D: number, options: ScanOptions = {}): Problem {
  const { state = false, skip = false, reset = false, longest = 20 } = options;
  const flags = [state && 'state', skip && 'skip', reset && 'reset', longest !== 20 && `longest=${longest}`];
  const name = `B=${B} T=${T} N=${N} D=${D} ${flags.filter(Boolean).join(' ')}`.trim();
  const random = new CaseRandom(name);
  const size = N * D;
  const values = {
    y: output(B * T * D),
    stateOut: state ? output(2 * B * size) : null,
    x: random.floats(B * T * D),
    c: random.floats(2 * size),
    z: steps(random, size, longest),
    skip: skip ? random.floats(D) : null,
    stateIn: state ? random.floats(2 * B * size) : null,
    reset: reset ? borders(random, B, T) : null,
  };
  const sizes = { B, T, N, D };
  return { name, forward: 'diagonalScanForward', backward: 'diagonalScanBackward', values: { ...values, ...sizes } };
}

function s4Scan(B: number, T: number, N: number, D: number, options: Omit<ScanOptions, 'longest'> = {}): Problem {
  const { state = false, skip = false, reset = false } = options;
  const flags = [state && 'state', skip && 'skip', reset && 'reset'];
  const name = `B=${B} T=${T} N=${N} D=${D} ${flags.filter(Boolean).join(' ')}`.trim();
  const random = new CaseRandom(`s4 ${name}`);
  const size = N * D;
  const re = Array.from({ length: size }, () => -0.7 + 0.3 * random.normal());
  const im = re.map((_, k) => -3 * Math.floor(k / D) - random.uniform());
  const values = {
    y: output(B * T * D),
    stateOut: state ? output(2 * B * size) : null,
    x: random.floats(B * T * D),
    A: floatValue([...re, ...im]),
    P: random.floats(2 * size),
    Bm: random.floats(2 * size),
    C: random.floats(2 * size),
    logDt: floatValue(Array.from({ length: D }, () => Math.log(0.01) * random.uniform())),
    skip: skip ? random.floats(D) : null,
    stateIn: state ? random.floats(2 * B * size) : null,
    reset: reset ? borders(random, B, T) : null,
  };
  return { name, forward: 's4ScanForward', backward: 's4ScanBackward', values: { ...values, B, T, N, D } };
}

/** Every problem of the state-space kernels. */
export const stateSpaceProblems = (): Problem[] => {
  const all = { state: true, skip: true, reset: true };
  return [
    ...Object.values(SsmRealPart).map((realPart) => discretize(7, 19, realPart, 0)),
    discretize(1, 1, SsmRealPart.negativeExp, 0),
    discretize(5, 9, SsmRealPart.free, 40),
    discretize(6, 33, SsmRealPart.negativeExp, 300),
    kernel(37, 5, 19, 20),
    kernel(1, 3, 4, 20),
    kernel(64, 4, 1, 100, true),
    kernel(300, 7, 33, 1000),
    kernel(129, 3, 16, 50, true),
    kernel(50, 2, 3, 20, false, ['dz']),
    kernel(2000, 2, 3, 10_000),
    scan(2, 19, 5, 33, all),
    scan(2, 19, 5, 33),
    scan(1, 1, 3, 5, { state: true }),
    scan(3, 1, 2, 17, { state: true, skip: true }),
    scan(2, 8, 4, 7, all),
    scan(2, 0, 3, 5, { state: true }),
    scan(1, 70, 32, 9, { state: true, longest: 1000 }),
    scan(1, 600, 3, 2, { state: true, skip: true, longest: 1000 }),
    s4Scan(2, 19, 5, 17, { state: true, skip: true, reset: true }),
    s4Scan(2, 40, 4, 3),
    s4Scan(1, 1, 3, 5, { state: true }),
    s4Scan(2, 0, 3, 5, { state: true }),
    s4Scan(3, 33, 1, 9, { state: true, reset: true }),
    s4Scan(1, 300, 6, 2, { skip: true }),
  ];
};
