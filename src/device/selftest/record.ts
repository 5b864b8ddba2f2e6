/**
 * @file Writes kernel cases and their expected results as one file of bytes, for a program that runs them without
 * JavaScript: `native/test/replay.cpp`, which reads the same layout. It is how a library for another processor is tested.
 */
import { functionName } from '../native/header.js';
import type { HostArray } from '../device.js';
import type { Dtype } from '../kernels.js';
import type { CaseArgument, CaseBuffer } from './problem.js';
import type { SolvedCase } from './selftest.js';
import { float32Tolerance } from './tolerances.js';

export const RECORD_MAGIC = 'XLREPLAY';

/** Recorded cases are of a CPU, which has no bf16. */
const CODES: Record<Dtype, number> = { float: 0, bf16: NaN, int32: 1, uint8: 2 };

/** Little-endian numbers and counted texts, one after another. */
class ByteWriter {
  #parts: Uint8Array[] = [];

  count(value: number): void {
    this.#bytes(4, (view) => view.setUint32(0, value, true));
  }

  number(value: number): void {
    this.#bytes(8, (view) => view.setFloat64(0, value, true));
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.count(bytes.length);
    this.#parts.push(bytes);
  }

  /** Elements in the type that float32 devices have. */
  elements(dtype: Dtype, data: HostArray): void {
    const array = dtype === 'float' ? Float32Array.from(data) : data;
    this.#parts.push(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }

  finish(): Uint8Array {
    return Buffer.concat(this.#parts);
  }

  #bytes(length: number, set: (view: DataView) => void): void {
    const bytes = new Uint8Array(length);
    set(new DataView(bytes.buffer));
    this.#parts.push(bytes);
  }
}

/**
 * The layout, all numbers little-endian, a text being its byte count and its bytes:
 *   text magic; count cases; for each case:
 *     text name; number tolerance (relative RMS);
 *     count buffers; for each: count dtype, length, 1 if it has data, 1 if it is compared; text name; data; expected;
 *     count calls; for each: text kernel; count arguments; for each: count kind (0 null, 1 buffer, 2 number), number.
 *
 * @param cases  from `solveCases`
 */
export function recordCases(cases: readonly SolvedCase[]): Uint8Array {
  const out = new ByteWriter();
  out.text(RECORD_MAGIC);
  out.count(cases.length);
  for (const { name, kernel, amplification, calls, expected } of cases) {
    out.text(name);
    out.number(float32Tolerance[kernel] * amplification);
    const buffers = new Map<CaseBuffer, number>();
    for (const argument of calls.flatMap(({ args }) => args)) {
      if (argument !== null && typeof argument === 'object' && !buffers.has(argument))
        buffers.set(argument, buffers.size);
    }
    out.count(buffers.size);
    for (const buffer of buffers.keys()) writeBuffer(out, buffer, expected.get(buffer));
    out.count(calls.length);
    for (const call of calls) {
      out.text(functionName(call.kernel));
      out.count(call.args.length);
      for (const argument of call.args) writeArgument(out, argument, buffers);
    }
  }
  return out.finish();
}

function writeBuffer(out: ByteWriter, { name, dtype, length, data }: CaseBuffer, expected?: HostArray): void {
  out.count(CODES[dtype]);
  out.count(length);
  out.count(data ? 1 : 0);
  out.count(expected ? 1 : 0);
  out.text(name);
  if (data) out.elements(dtype, data);
  if (expected) out.elements(dtype, expected);
}

function writeArgument(out: ByteWriter, argument: CaseArgument, buffers: ReadonlyMap<CaseBuffer, number>): void {
  const isBuffer = argument !== null && typeof argument === 'object';
  out.count(argument === null ? 0 : isBuffer ? 1 : 2);
  out.number(isBuffer ? buffers.get(argument)! : Number(argument));
}
