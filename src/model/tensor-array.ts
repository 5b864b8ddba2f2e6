/**
 * @file Elements of tensors as typed arrays: one kind for each element type of safetensors, out of bytes, and in the
 * pieces in which they are written. It knows no files.
 */
import { toFloat32 } from './float-formats.js';
import { ELEMENT_BYTES, type SafetensorsDtype } from './safetensors-header.js';

/** How elements of each type are held; F16 and BF16 as their 16 bits, BOOL as 0 and 1. */
// prettier-ignore
const ARRAYS = {
  F64: Float64Array, F32: Float32Array, F16: Uint16Array, BF16: Uint16Array, I64: BigInt64Array, I32: Int32Array,
  I16: Int16Array, I8: Int8Array, U64: BigUint64Array, U32: Uint32Array, U16: Uint16Array, U8: Uint8Array, BOOL: Uint8Array,
} as const satisfies Record<SafetensorsDtype, unknown>;
export type TensorArray = InstanceType<(typeof ARRAYS)[SafetensorsDtype]>;

/** Bytes of a tensor as elements: in place where they are aligned, else a copy. */
export function arrayOf(dtype: SafetensorsDtype, bytes: Uint8Array): TensorArray {
  const { buffer, byteOffset } = bytes.byteOffset % ELEMENT_BYTES[dtype] === 0 ? bytes : bytes.slice();
  return new ARRAYS[dtype](buffer as ArrayBuffer, byteOffset, bytes.length / ELEMENT_BYTES[dtype]);
}

/** Bytes of a tensor as numbers that a device takes: F64 and F32 as they are, everything else as float32. */
export function toFloats(bytes: Uint8Array, dtype: SafetensorsDtype): Float32Array | Float64Array {
  const data = arrayOf(dtype, bytes);
  return data instanceof Float64Array || data instanceof Float32Array ? data : toFloat32(data, dtype);
}

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** The elements, or a function that gives them when their turn comes, whole or in pieces: not all is in memory. */
  readonly data: TensorArray | (() => TensorArray | Promise<TensorArray> | AsyncIterable<TensorArray>);
}

/** The elements of a tensor, in pieces; checks their type and that all are there. */
export async function* piecesOf({ name, dtype, shape, data }: TensorToWrite): AsyncGenerator<TensorArray> {
  const length = shape.reduce((product, size) => product * size, 1);
  const given = typeof data === 'function' ? await data() : data;
  let kind = ARRAYS[dtype].name;
  let done = 0;
  for await (const piece of Symbol.asyncIterator in given ? given : [given]) {
    kind = piece.constructor.name;
    done += piece.length;
    if (!(piece instanceof ARRAYS[dtype]) || done > length) break;
    yield piece;
  }
  if (done === length && kind === ARRAYS[dtype].name) return;
  throw new RangeError(
    `writeSafetensors: tensor "${name}" is ${dtype} [${shape.join(',')}], which takes a ${ARRAYS[dtype].name} of ${length}, ` +
      `got a ${kind} of ${done}`,
  );
}
