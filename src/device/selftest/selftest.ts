/**
 * @file The self-test: runs every kernel case on a device and on the reference and compares all that was written. It is
 * what `xlstm doctor` and the tests run on the very device; the cases are in `cases.ts`.
 */
import type { Device, HostArray } from '../device.js';
import type { KernelName } from '../kernels.js';
import { kernelCases } from './cases.js';
import type { CaseBuffer, KernelCase } from './problem.js';
import { runCalls } from './problem.js';
import { FLOAT64_TOLERANCE, float32Tolerance } from './tolerances.js';

/** How one buffer of a case compares with the reference. */
export interface OutputResult {
  readonly name: string;
  /** RMS(error) / RMS(reference); infinite where one side is NaN or infinite and the other is not the same. */
  readonly relativeRms: number;
  /** The element that is off most. */
  readonly worst: { readonly index: number; readonly got: number; readonly expected: number };
}

export interface SelftestResult {
  /** The kernel and the sizes and options of the case. */
  readonly name: string;
  readonly kernel: KernelName;
  readonly outputs: readonly OutputResult[];
  /** What every `relativeRms` may be at most. */
  readonly tolerance: number;
  readonly ok: boolean;
  /** Why the case could not be compared: the kernel threw, or wrote outside of its buffers. */
  readonly error?: string;
  /** Why the case was not run: the device does not have a kernel. Then there are no outputs, and `ok` is true. */
  readonly skipped?: string;
}

export interface SelftestOptions {
  /** False for a device whose views cannot begin at any element: no guards around the buffers then. */
  readonly guards?: boolean;
}

/** Below this a float32 device may flush to zero, and no tensor of use is smaller. */
const TINY = 1e-30;

/**
 * Compares what a device wrote with the reference. Where the reference wrote nothing (NaN) the device must not have
 * written either; infinities must be the same.
 */
export function compare(name: string, got: HostArray, expected: HostArray): OutputResult {
  let [errors, squares, worst, worstError] = [0, 0, 0, -1];
  for (let e = 0; e < expected.length; e++) {
    const [x, y] = [got[e]!, expected[e]!];
    const isSame = Object.is(x, y) || x === y;
    const error = isSame ? 0 : Number.isFinite(x) && Number.isFinite(y) ? Math.abs(x - y) : Infinity;
    errors += error * error;
    if (Number.isFinite(y)) squares += y * y;
    if (error > worstError) [worst, worstError] = [e, error];
  }
  const scale = Math.max(1, expected.length);
  const relativeRms = errors === 0 ? 0 : Math.sqrt(errors / scale) / Math.max(TINY, Math.sqrt(squares / scale));
  return { name, relativeRms, worst: { index: worst, got: got[worst] ?? NaN, expected: expected[worst] ?? NaN } };
}

/** What a case compares: all that its kernels write, except what only the device itself can read. */
const isCompared = ({ role }: CaseBuffer): boolean => role === 'output' || role === 'gradient' || role === 'update';

/** Alternates aligned buffers and buffers that begin at no multiple of a vector. */
const guardOf = (index: number): number => (index % 2 === 0 ? 16 : 21);

/** A case and what the reference makes of it. */
export interface SolvedCase extends KernelCase {
  /** What every buffer that is compared holds at the end. */
  readonly expected: ReadonlyMap<CaseBuffer, HostArray>;
}

/**
 * The cases of the self-test with the results of the reference: some seconds of work that serve any number of devices.
 *
 * @param reference  a device of `createReferenceDevice`
 * @param kernels    only the cases of these kernels; all by default
 */
export async function solveCases(reference: Device, kernels?: readonly KernelName[]): Promise<SolvedCase[]> {
  const solved: SolvedCase[] = [];
  for (const testCase of await kernelCases(reference, kernels)) {
    const results = await runCalls(reference, testCase.calls);
    const expected = new Map([...results].filter(([buffer]) => isCompared(buffer)));
    solved.push({ ...testCase, expected });
  }
  return solved;
}

async function runCase(device: Device, testCase: SolvedCase, guard: number): Promise<SelftestResult> {
  const { name, kernel, calls, amplification, expected } = testCase;
  const tolerance = (device.precision === 'float64' ? FLOAT64_TOLERANCE : float32Tolerance[kernel]) * amplification;
  const lacking = calls.find(({ kernel }) => device.absent.has(kernel))?.kernel;
  if (lacking !== undefined) {
    const skipped = `${lacking}: ${device.absent.get(lacking)}`;
    return { name, kernel, outputs: [], tolerance, ok: true, skipped };
  }
  let got: Map<CaseBuffer, HostArray>;
  try {
    got = await runCalls(device, calls, guard);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { name, kernel, outputs: [], tolerance, ok: false, error: message };
  }
  const outputs: OutputResult[] = [];
  for (const [buffer, data] of expected) {
    // What overflows float32 is infinite there, and rightly so.
    const isRounded = device.precision === 'float32' && buffer.dtype === 'float';
    outputs.push(compare(buffer.name, got.get(buffer)!, isRounded ? Float64Array.from(data, Math.fround) : data));
  }
  return { name, kernel, outputs, tolerance, ok: outputs.every(({ relativeRms }) => relativeRms <= tolerance) };
}

/**
 * Runs solved cases on `device` and compares, with fresh memory full of NaN and with guards around every buffer, so that
 * an element that is skipped or written outside is seen.
 *
 * @returns one result per case; the device is right where all are `ok`
 */
export async function checkCases(
  device: Device,
  cases: readonly SolvedCase[],
  { guards = true }: SelftestOptions = {},
): Promise<SelftestResult[]> {
  const results: SelftestResult[] = [];
  for (const [index, testCase] of cases.entries()) {
    results.push(await runCase(device, testCase, guards ? guardOf(index) : 0));
  }
  return results;
}

/**
 * The whole self-test, in some seconds: every kernel of `device`, forward and backward, against `reference`.
 *
 * @param reference  a device of `createReferenceDevice`
 */
export async function selftest(
  device: Device,
  reference: Device,
  { kernels, ...options }: SelftestOptions & { readonly kernels?: readonly KernelName[] } = {},
): Promise<SelftestResult[]> {
  return checkCases(device, await solveCases(reference, kernels), options);
}

/** One line for people: the case, what is off and where. */
export function describeFailure({ name, error, outputs, tolerance }: SelftestResult): string {
  if (error !== undefined) return `${name}: ${error}`;
  const off = outputs
    .filter(({ relativeRms }) => !(relativeRms <= tolerance))
    .map((o) => {
      const { index, got, expected } = o.worst;
      return `${o.name} ${o.relativeRms.toExponential(1)} (at ${index}: ${got}, expected ${expected})`;
    });
  return `${name}: relative RMS above ${tolerance}: ${off.join('; ')}`;
}
