/**
 * @file What a kernel case is, and how cases are made of a problem: named values for the arguments of a forward kernel
 * and of its backward kernel. The problems themselves are listed in `cases.ts`; running and judging is `selftest.ts`.
 */
import type { Device, HostArray } from '../device.js';
import type { DeviceBuffer, Dtype, KernelName } from '../kernels.js';
import type { Role } from './signatures.js';
import { gradientOf, roleOf, signatures } from './signatures.js';

/** A buffer of a case. Calls of one case share memory where they share this object. */
export interface CaseBuffer {
  readonly kind: 'buffer';
  readonly name: string;
  readonly dtype: Dtype;
  readonly role: Role;
  readonly length: number;
  /** What it holds at first (floats are float32 numbers, so that every device gets the same); null: fresh memory. */
  readonly data: HostArray | null;
}

/** One argument of a kernel call; null is an absent buffer. */
export type CaseArgument = CaseBuffer | number | boolean | null;

export interface KernelCall {
  readonly kernel: KernelName;
  /** In the order of the contract. */
  readonly args: readonly CaseArgument[];
}

/** Calls that run one after another on one device; what they write is compared with the reference. */
export interface KernelCase {
  readonly name: string;
  /** The kernel under test: that of the last call. */
  readonly kernel: KernelName;
  readonly calls: readonly KernelCall[];
  /** A factor on the tolerance of the kernel: see `Problem`. */
  readonly amplification: number;
}

/** A buffer argument of a problem: data, or an output of that length. */
export interface BufferValue {
  readonly dtype: Dtype;
  readonly length: number;
  readonly data: HostArray | null;
}

export type Value = BufferValue | number | boolean | null;

/** Values for the arguments of a forward kernel by name, and with `backward` also for those of its backward kernel. */
export interface Problem {
  readonly name: string;
  readonly forward: KernelName;
  readonly backward?: KernelName;
  readonly values: Readonly<Record<string, Value>>;
  /** Gradients that may be null and are not asked for. */
  readonly unwanted?: readonly string[];
  /** Outputs that take the memory of an input: `{ Cout: 'Cin' }`. */
  readonly inPlace?: Readonly<Record<string, string>>;
  /** False where a finite difference may step over a kink of the function. */
  readonly smooth?: boolean;
  /** How many times more than usual it magnifies rounding: a factor on the tolerance, its reason beside the problem. */
  readonly amplification?: number;
}

const isBuffer = (value: Value): value is BufferValue => typeof value === 'object' && value !== null;

/**
 * Seeded random numbers (splitmix32, which is quick); the seed is a text, so that a new problem does not change others.
 */
export class CaseRandom {
  #state: number;

  constructor(seed: string) {
    let hash = 0x811c9dc5; // FNV-1a
    for (const letter of seed) hash = Math.imul(hash ^ letter.codePointAt(0)!, 0x01000193) >>> 0;
    this.#state = hash;
  }

  /** In (0, 1). */
  uniform(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let word = this.#state;
    word = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    return (((word ^ (word >>> 15)) >>> 0) + 0.5) / 2 ** 32;
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** An integer from 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** `length` float32 numbers offset + scale * normal. */
  floats(length: number, scale = 1, offset = 0): BufferValue {
    const data = new Float64Array(length);
    for (let n = 0; n < length; n++) data[n] = Math.fround(offset + scale * this.normal());
    return { dtype: 'float', length, data };
  }
}

/** A float buffer of these numbers, each rounded to float32. */
export function floatValue(values: ArrayLike<number>): BufferValue {
  const { length } = values;
  const data = new Float64Array(length);
  for (let n = 0; n < length; n++) data[n] = Math.fround(values[n]!);
  return { dtype: 'float', length, data };
}

export const intValue = (values: readonly number[]): BufferValue => ({
  dtype: 'int32',
  length: values.length,
  data: Int32Array.from(values),
});

export const byteValue = (values: ArrayLike<number>): BufferValue => ({
  dtype: 'uint8',
  length: values.length,
  data: Uint8Array.from(values),
});

/** An output buffer. */
export const output = (length: number): BufferValue => ({ dtype: 'float', length, data: null });

/** An output buffer of whole numbers. */
export const intOutput = (length: number): BufferValue => ({ dtype: 'int32', length, data: null });

/** An output buffer of bytes. */
export const byteOutput = (length: number): BufferValue => ({ dtype: 'uint8', length, data: null });

/**
 * A call of one kernel with what it takes of its problem: `values` by name, in the order of the contract.
 *
 * @param buffers  buffers of this name are shared with earlier calls; those made here are added
 */
export function makeCall(kernel: KernelName, problem: Problem, buffers: Map<string, CaseBuffer>): KernelCall {
  const { values } = problem;
  const signature = signatures[kernel];
  const args: CaseArgument[] = [];
  for (const [name, role] of signature.buffers) {
    const value = values[name];
    if (value === undefined) throw new Error(`${problem.name}: no value for argument '${name}' of ${kernel}`);
    if (value === null) {
      args.push(null);
      continue;
    }
    if (!isBuffer(value)) throw new Error(`${problem.name}: argument '${name}' of ${kernel} must be a buffer`);
    const alias = problem.inPlace?.[name];
    const key = alias ?? name;
    const isTarget = Object.values(problem.inPlace ?? {}).includes(name);
    const source = alias === undefined ? value : (values[alias] as BufferValue);
    const made: CaseBuffer = buffers.get(key) ?? {
      kind: 'buffer',
      name: key,
      role: alias === undefined && !isTarget ? roleOf(kernel, role, values) : 'update',
      ...source,
      // Fresh memory, also where another kernel's result is known already.
      ...(role === 'output' && alias === undefined && roleOf(kernel, role, values) === 'output' && { data: null }),
    };
    buffers.set(key, made);
    args.push(made);
  }
  for (const name of signature.options) {
    const value = values[name];
    if (typeof value !== 'number' && typeof value !== 'boolean') {
      throw new Error(`${problem.name}: no value for option '${name}' of ${kernel}`);
    }
    args.push(value);
  }
  return { kernel, args };
}

export function forwardCase(problem: Problem): KernelCase {
  const call = makeCall(problem.forward, problem, new Map());
  const { name, forward, amplification = 1 } = problem;
  return { name: `${forward} ${name}`, kernel: forward, calls: [call], amplification };
}

/** The problem with random cotangents and with gradients that hold `initial(name, length)`. */
export function withGradients(problem: Problem, initial: (name: string, length: number) => ArrayLike<number>): Problem {
  const random = new CaseRandom(`${problem.name} cotangents`);
  const values: Record<string, Value> = { ...problem.values };
  for (const [name, role] of signatures[problem.backward!].buffers) {
    if (values[name] !== undefined) continue;
    const primal = values[gradientOf(name)];
    if (primal === undefined) throw new Error(`${problem.name}: '${name}' is the gradient of no known argument`);
    if (primal === null || problem.unwanted?.includes(name)) values[name] = null;
    else if (!isBuffer(primal)) throw new Error(`${problem.name}: '${name}' is the gradient of an option`);
    else if (role === 'input') values[name] = random.floats(primal.length);
    else values[name] = floatValue(initial(name, primal.length));
  }
  return { ...problem, values };
}

function rms(data: ArrayLike<number>): number {
  let sum = 0;
  for (let n = 0; n < data.length; n++) sum += data[n]! * data[n]!;
  return Math.sqrt(sum / Math.max(1, data.length));
}

/**
 * The backward case of a problem. What the backward kernel needs of the forward one comes from the reference, or, where
 * its layout is the device's own (`saved`), from a call of the device's own forward kernel. Gradients start from random
 * values of a quarter of their size, so that one that is overwritten or added to twice is seen.
 */
export async function backwardCase(problem: Problem, reference: Device): Promise<KernelCase> {
  const { backward, name, amplification = 1 } = problem;
  if (backward === undefined) throw new Error(`${problem.name}: has no backward kernel`);
  const isPair = signatures[backward].buffers.some(([name]) => name === 'saved');

  const forward = forwardCase(problem).calls;
  const results = await runCalls(reference, forward);
  const known: Record<string, Value> = { ...problem.values };
  for (const [buffer, data] of results) {
    if (buffer.role === 'output') known[buffer.name] = floatValue(data);
  }
  const zeros = withGradients({ ...problem, values: known }, (_, length) => new Float64Array(length));
  const shared = new Map(forward[0]!.args.filter((a) => a !== null && typeof a === 'object').map((b) => [b.name, b]));
  const callsOf = (filled: Problem): KernelCall[] =>
    isPair ? [...forward, makeCall(backward, filled, new Map(shared))] : [makeCall(backward, filled, new Map())];

  const sizes = new Map<string, number>();
  for (const [buffer, data] of await runCalls(reference, callsOf(zeros))) sizes.set(buffer.name, rms(data));
  const random = new CaseRandom(`${problem.name} initial gradients`);
  const filled = withGradients({ ...problem, values: known }, (name, length) =>
    Array.from({ length }, () => 0.25 * (sizes.get(name) || 1) * random.normal()),
  );
  return { name: `${backward} ${name}`, kernel: backward, calls: callsOf(filled), amplification };
}

const GUARD = -77.25;
/** In fresh memory that is no float, which NaN cannot mark. */
const FRESH_BYTE = 0xa5;
const GUARD_FLAG = 77;
const guardOf = (dtype: Dtype): number => (dtype === 'float' ? GUARD : dtype === 'int32' ? -77 : GUARD_FLAG);

function paddedData({ dtype, length, data }: CaseBuffer, guard: number): HostArray {
  const total = length + 2 * guard;
  const padded =
    dtype === 'float' ? new Float64Array(total) : dtype === 'int32' ? new Int32Array(total) : new Uint8Array(total);
  padded.fill(guardOf(dtype));
  if (data) padded.set(data, guard);
  else padded.fill(dtype === 'float' ? NaN : FRESH_BYTE, guard, guard + length);
  return padded;
}

/**
 * Runs calls on a device and returns what every buffer holds at the end. Fresh memory is NaN.
 *
 * @param guard  that many elements before and after each buffer hold a known number and must keep it; an odd count also
 *               makes addresses that are no multiple of a vector. 0 for a device whose views cannot begin anywhere.
 * @throws Error naming the buffer beside which a kernel wrote.
 */
export async function runCalls(
  device: Device,
  calls: readonly KernelCall[],
  guard = 0,
): Promise<Map<CaseBuffer, HostArray>> {
  const held = new Map<CaseBuffer, { whole: DeviceBuffer; part: DeviceBuffer }>();
  const poison = device.poison;
  device.poison = true;
  try {
    for (const { kernel, args } of calls) {
      const actual = args.map((argument) => {
        if (argument === null || typeof argument !== 'object') return argument;
        let memory = held.get(argument);
        if (memory === undefined) {
          const whole = device.alloc(argument.dtype, argument.length + 2 * guard);
          memory = { whole, part: guard > 0 ? device.view(whole, guard, argument.length) : whole };
          held.set(argument, memory);
          if (guard > 0) device.write(whole, paddedData(argument, guard));
          else if (argument.data) device.write(whole, argument.data);
        }
        return memory.part;
      });
      (device.kernels[kernel] as (...args: unknown[]) => void)(...actual);
    }
    const results = new Map<CaseBuffer, HostArray>();
    // Together: a GPU is waited for once.
    const contents = await Promise.all(Array.from(held.values(), ({ whole }) => device.read(whole)));
    for (const [index, buffer] of [...held.keys()].entries()) {
      const data = contents[index]!;
      const end = guard + buffer.length;
      const expected = guardOf(buffer.dtype);
      if (![...data.subarray(0, guard), ...data.subarray(end)].every((x) => x === expected)) {
        throw new Error(`wrote outside of '${buffer.name}' (${buffer.length} elements)`);
      }
      results.set(buffer, data.slice(guard, end));
    }
    return results;
  } finally {
    for (const { whole } of held.values()) device.free(whole);
    device.poison = poison;
  }
}
