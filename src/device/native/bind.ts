/**
 * @file Turns the C functions of xl.h into the kernels of the contract: buffers become addresses, null becomes 0,
 * booleans become 0 and 1, a status that is not 0 becomes an Error. Sizes and shapes are checked by the callers (ops)
 * and, where it is cheap, by the library.
 */
import type { DeviceName } from '../device.js';
import { KERNEL_NAMES, refusal, type AbsentKernels } from '../kernel-names.js';
import type { Dtype, Kernels } from '../kernels.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import { NativeBuffer, own } from './buffer.js';
import type { Prototype } from './header.js';
import { functionName } from './header.js';
import { failure, type Library } from './library.js';

/**
 * @param device  whose kernels these are, for messages
 * @param absent  kernels that the library does not have; a call of one throws a sentence with its name and the reason
 * @param held    bytes that the device holds, which a kernel without memory to work in tells
 * @throws Error if the header has no function for a kernel.
 */
export function bindKernels(
  device: DeviceName,
  library: Library,
  absent: AbsentKernels = {},
  held: () => number = () => 0,
): Kernels {
  const prototypes = new Map(library.prototypes.map((prototype) => [prototype.name, prototype]));
  const entries = KERNEL_NAMES.map((name) => {
    const reason = absent[name];
    if (reason !== undefined) {
      return [name, refusal(device, name, reason)];
    }
    const prototype = prototypes.get(functionName(name));
    if (!prototype) throw new Error(`${device}: xl.h has no ${functionName(name)} for the kernel ${name}`);
    return [name, bindKernel(device, library, name, prototype, held)];
  });
  return Object.fromEntries(entries) as Kernels;
}

type BufferArgument = { readonly index: number; readonly dtype: Dtype; readonly what: string };
type DataArgument = Omit<BufferArgument, 'dtype'>;

function bindKernel(
  device: DeviceName,
  library: Library,
  name: string,
  prototype: Prototype,
  held: () => number,
): (...args: unknown[]) => void {
  const native = library.get(prototype.name);
  const data: DataArgument[] = [];
  const count = prototype.arguments.length;
  const buffers: BufferArgument[] = [];
  const flags: number[] = [];
  prototype.arguments.forEach(({ name: argument, kind, type }, index) => {
    if (kind === 'float' || kind === 'int32' || kind === 'uint8') {
      buffers.push({ index, dtype: kind, what: `${name}: argument ${argument}` });
    } else if (kind === 'data') {
      data.push({ index, what: `${name}: argument ${argument}` });
    } else if (type === 'int32_t') {
      flags.push(index);
    }
  });
  return (...args) => {
    if (args.length !== count) throw new Error(`${device}: ${name} takes ${count} arguments, got ${args.length}`);
    const form = data.length === 0 ? '' : dataForm(device, prototype.name, data, args);
    for (const { index, dtype, what } of buffers) args[index] = addressOf(device, args[index], dtype, what);
    for (const index of flags) args[index] = Number(args[index]);
    const run = form === '' ? native : library.get(prototype.name + form);
    const status = run(...args);
    if (status === 0) return;
    const error = failure(device, status, library.lastError());
    if (error instanceof OutOfMemoryError) error.held = held();
    throw error;
  };
}

/**
 * Turns activations into addresses.
 * @param name  of the C function
 * @returns what the form of it that takes them has behind its name, nothing for float
 */
function dataForm(device: DeviceName, name: string, data: readonly DataArgument[], args: unknown[]): string {
  let floats = 0;
  let bf16s = 0;
  let isFirstFloat = false;
  for (const { index, what } of data) {
    const value = args[index];
    const dtype = value instanceof NativeBuffer ? value.dtype : 'float';
    if (dtype === 'bf16') {
      bf16s++;
      args[index] = addressOf(device, value, 'bf16', what);
      continue;
    }
    if (value !== null) {
      floats++;
      if (floats + bf16s === 1) isFirstFloat = true;
    }
    args[index] = addressOf(device, value, 'float', what);
  }
  if (bf16s === 0) return '';
  if (floats === 0) return '_bf16';
  if (name === 'xl_matmul' && floats === 1 && isFirstFloat) return '_bf16_float';
  throw new TypeError(
    `${device}: ${name}: activations must be all float or all bf16, got ${floats} float and ${bf16s} bf16`,
  );
}

function addressOf(device: DeviceName, value: unknown, dtype: Dtype, what: string): number {
  if (value === null) return 0;
  if (value instanceof NativeBuffer && value.device === device && !value.allocation.freed && value.dtype === dtype)
    return value.address;
  const { dtype: got } = own(device, value, what);
  throw new Error(`${device}: ${what} must be a ${dtype} buffer, got ${got}`);
}
