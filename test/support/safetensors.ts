/**
 * @file A minimal reader of safetensors files, for fixtures. It is not the library's reader, so that a test of one
 * does not rest on the other.
 */
import { readFileSync } from 'node:fs';

export interface FixtureTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | Float32Array | Int32Array | BigInt64Array;
}

export interface Fixture {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: Readonly<Record<string, FixtureTensor>>;
}

const arrayOf = {
  F64: Float64Array,
  F32: Float32Array,
  I32: Int32Array,
  I64: BigInt64Array,
} as const;

interface Entry {
  dtype: keyof typeof arrayOf;
  shape: number[];
  data_offsets: [number, number];
}

/** Reads a whole file: a header length (u64), a JSON header, then the tensors. @throws on a dtype it does not know. */
export function readFixture(path: string | URL): Fixture {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<string, unknown>;
  const tensors: Record<string, FixtureTensor> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { dtype, shape, data_offsets: offsets } = value as Entry;
    const constructor = arrayOf[dtype];
    if (constructor === undefined)
      throw new Error(`readFixture: ${name} has dtype ${dtype}, which no fixture used yet`);
    const [begin, end] = offsets.map((offset) => offset + 8 + headerBytes) as [number, number];
    const bytes = file.buffer.slice(file.byteOffset + begin, file.byteOffset + end);
    tensors[name] = { shape, data: new constructor(bytes) };
  }
  return { metadata: (header['__metadata__'] ?? {}) as Record<string, string>, tensors };
}

/** The golden file of that name, recorded from an independent implementation (see `test/fixtures/golden/README.md`). */
export function readGolden(name: string): Fixture {
  return readFixture(new URL(`../fixtures/golden/${name}.safetensors`, import.meta.url));
}

/** The numbers of a float64 tensor of a fixture. @throws if it is missing or of another dtype. */
export function float64Of({ tensors }: Fixture, name: string): Float64Array {
  const tensor = tensors[name];
  if (!(tensor?.data instanceof Float64Array)) throw new Error(`fixture: no float64 tensor '${name}'`);
  return tensor.data;
}
