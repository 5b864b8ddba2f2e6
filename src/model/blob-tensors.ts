/**
 * @file Safetensors files as blobs, which a browser may keep on disk: a file of the user's, of the page's own storage, or a
 * download. Tensors are read one at a time. `safetensors-bytes.ts` is the same for bytes in memory.
 */
import { MAX_HEADER_BYTES, parseSafetensorsHeader, SafetensorsError, type TensorEntry } from './safetensors-header.js';
import type { TensorSet } from './tensor-set.js';

/** The 8 bytes that give the length of the header. */
const LENGTH_BYTES = 8;

/** Tensors of files that are not in memory. `view` gives those that were fetched last. */
export interface BlobTensors extends TensorSet {
  /** Reads a tensor, whose bytes `view` then gives until another is fetched. @throws Error when the file cannot be read. */
  fetch(name: string): Promise<void>;
}

interface Place extends TensorEntry {
  readonly file: string;
  readonly blob: Blob;
}

/**
 * The tensors of files together. @param files  by name
 * @throws SafetensorsError if one violates the format, or two have a tensor of one name.
 */
export async function blobTensors(files: ReadonlyMap<string, Blob>, path: string): Promise<BlobTensors> {
  const places = new Map<string, Place>();
  const metadata: Record<string, string> = {};
  for (const [file, blob] of files) {
    const header = await readHeader(blob, file);
    Object.assign(metadata, header.metadata);
    for (const [name, entry] of header.tensors) {
      const other = places.get(name);
      if (other !== undefined) throw new SafetensorsError(`${file}: its tensor "${name}" is in ${other.file} too`);
      places.set(name, { ...entry, file, blob });
    }
  }
  let held: { readonly name: string; readonly bytes: Uint8Array } | null = null;
  const close = (): void => void (held = null);
  return {
    path,
    metadata,
    tensors: places,
    async fetch(name) {
      if (held?.name === name) return;
      const { blob, offset, byteLength, file } = places.get(name)!;
      held = null; // so that two are never in memory
      held = { name, bytes: await readRange(blob, offset, byteLength, file) };
    },
    view(name) {
      if (held?.name !== name) throw new Error(`${path}: the tensor "${name}" was not fetched`);
      return held.bytes;
    },
    memory: () => null,
    close,
    [Symbol.dispose]: close,
  };
}

async function readHeader(blob: Blob, name: string) {
  const first = await readRange(blob, 0, Math.min(LENGTH_BYTES, blob.size), name);
  const length = first.length < LENGTH_BYTES ? 0 : Number(new DataView(first.buffer).getBigUint64(0, true));
  // A length that cannot be is refused by the parser, which then asks for no more than the first bytes.
  const isPossible = length <= MAX_HEADER_BYTES && length <= blob.size - LENGTH_BYTES;
  const head = isPossible ? await readRange(blob, 0, LENGTH_BYTES + length, name) : first;
  return parseSafetensorsHeader((offset, count) => head.subarray(offset, offset + count), blob.size, name);
}

async function readRange(blob: Blob, offset: number, length: number, name: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
  } catch (cause) {
    const why = (cause as Error).message;
    throw new Error(`${name}: cannot be read any more (${why}); it was changed or removed meanwhile: choose it again`, {
      cause,
    });
  }
}
