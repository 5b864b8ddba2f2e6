/**
 * @file A safetensors file in memory: its tensors out of the bytes, and the bytes of tensors. For pages, which have files
 * only as bytes; `safetensors.ts` is the same for files on disk.
 */
import {
  buildSafetensorsHeader,
  parseSafetensorsHeader,
  SafetensorsError,
  type TensorInfo,
} from './safetensors-header.js';
import type { TensorSet } from './tensor-set.js';
import { arrayOf, piecesOf, type TensorArray, type TensorToWrite } from './tensor-array.js';

export interface SafetensorsContent {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the data. `data` lies in the bytes that were given where it is aligned, else it is a copy. */
  readonly tensors: ReadonlyMap<string, TensorInfo & { readonly data: TensorArray }>;
}

/**
 * The tensors of a safetensors file.
 * @param name  how errors call it
 * @throws SafetensorsError if the bytes violate the format, saying what is wrong and where.
 */
export function parseSafetensors(bytes: Uint8Array, name = 'safetensors'): SafetensorsContent {
  const read = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length);
  const { metadata, tensors } = parseSafetensorsHeader(read, bytes.length, name);
  const withData = [...tensors].map(([tensor, { dtype, shape, byteLength, offset }]) => {
    return [tensor, { dtype, shape, byteLength, data: arrayOf(dtype, read(offset, byteLength)) }] as const;
  });
  return { metadata, tensors: new Map(withData) };
}

/**
 * The bytes of a safetensors file, the same that `writeSafetensors` writes.
 * @throws RangeError if names, shapes and data do not fit each other.
 */
export async function safetensorsBytes(
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { bytes: header, order, dataBytes } = buildSafetensorsHeader(tensors, metadata);
  const bytes = new Uint8Array(header.length + dataBytes);
  bytes.set(header);
  let at = header.length;
  for (const tensor of order) {
    for await (const { buffer, byteOffset, byteLength } of piecesOf(tensor)) {
      bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
      at += byteLength;
    }
  }
  return bytes;
}

/**
 * The bytes of a safetensors file as a set of tensors to be loaded. @param name  how errors call it
 * @throws SafetensorsError as `parseSafetensors`.
 */
export function tensorSetOf(bytes: Uint8Array, name: string): TensorSet {
  const read = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length);
  const { metadata, tensors } = parseSafetensorsHeader(read, bytes.length, name);
  const close = (): void => {};
  return {
    path: name,
    metadata,
    tensors,
    view(tensor) {
      const entry = tensors.get(tensor);
      if (entry === undefined) throw new RangeError(`${name}: no tensor is called ${JSON.stringify(tensor)}`);
      return read(entry.offset, entry.byteLength);
    },
    memory: () => null,
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * The tensors of several files, such as the shards of a model, as one set. @param name  how errors call it
 * @throws SafetensorsError when two of them hold a tensor of the same name.
 */
export function joinTensorSets(sets: readonly TensorSet[], name: string): TensorSet {
  const owner = new Map<string, TensorSet>();
  for (const set of sets) {
    for (const tensor of set.tensors.keys()) {
      const other = owner.get(tensor);
      if (other !== undefined)
        throw new SafetensorsError(`${set.path}: holds "${tensor}", which is in ${other.path} too`);
      owner.set(tensor, set);
    }
  }
  const close = (): void => {};
  return {
    path: name,
    metadata: sets[0]?.metadata ?? {},
    tensors: new Map(sets.flatMap(({ tensors }) => [...tensors])),
    view(tensor) {
      const set = owner.get(tensor);
      if (set === undefined) throw new RangeError(`${name}: no tensor is called ${JSON.stringify(tensor)}`);
      return set.view(tensor);
    },
    memory: () => null,
    close,
    [Symbol.dispose]: close,
  };
}
