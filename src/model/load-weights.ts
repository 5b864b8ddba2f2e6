/**
 * @file Parameters to run a model with, from where its folder has them: used in place where that is possible, widened to
 * floats where they must be, packed into a narrower format where that is asked for. It opens no files.
 */
import type { Device } from '../device/device.js';
import { WeightFormat, type DeviceBuffer } from '../device/kernels.js';
import { isNoRoom, namingWhat } from '../device/out-of-memory.js';
import { isScaled, packedRowBytes } from '../device/packing.js';
import type { ParameterSpec, ParameterTable } from '../layers/parameter.js';
import { checkShape, formatShape, size } from '../tensor/shape.js';
import { Tensor, type Packing } from '../tensor/tensor.js';
import type { ParameterSource } from './formats/source.js';
import { FrozenParameters } from './parameters.js';
import { toFloats } from './tensor-array.js';

/** How matrices are held: as the folder has them, or in a narrower format. */
export type WeightStorage = 'stored' | 'bf16' | 'int8' | 'int4';

export const weightStorages: readonly WeightStorage[] = ['stored', 'bf16', 'int8', 'int4'];

export interface WeightOptions {
  readonly storage: WeightStorage;
  /** Elements that share a scale in int8 and int4, a multiple of 16; 0 for one scale per row of int8. Default 64 and 32. */
  readonly group?: number;
  /** Told after each parameter: the share of the folder's bytes that was taken in. */
  readonly onProgress?: (share: number) => void;
}

/** Elements that share a scale where nothing is said: 8.25 bits and 4.5 bits per element. */
const DEFAULT_GROUP = { int8: 64, int4: 32 } as const;

/** Rows are packed this many elements at a time, so that widening them takes little memory. */
const CHUNK = 1 << 22;

/**
 * How a matrix is packed for a storage. In an int4 model the embedding and the output layer are int8: they are a few
 * percent of a large model, and it is there that coarse steps cost most.
 */
export function packingOf(name: string, storage: Exclude<WeightStorage, 'stored'>, group?: number): Packing {
  if (storage === 'bf16') return { format: WeightFormat.bf16, group: 0 };
  const format = storage === 'int4' && (name === 'embedding.weight' || name === 'head.weight') ? 'int8' : storage;
  return { format: WeightFormat[format], group: group ?? DEFAULT_GROUP[storage] };
}

/**
 * The parameters of a table from their sources; gives out each source before its bytes are taken, so that they can be
 * fetched then.
 * @throws RangeError for a missing or foreign parameter or a wrong shape; Error where a packed matrix would have to be
 *   packed again, or a type of element cannot be read as a number.
 */
export function* loadFrozen(
  device: Device,
  table: ParameterTable,
  sources: ReadonlyMap<string, ParameterSource>,
  folder: string,
  options: WeightOptions,
): Generator<ParameterSource, FrozenParameters, void> {
  checkNames(table, sources, folder);
  const total = [...sources.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const tensors: Record<string, Tensor> = {};
  let done = 0;
  try {
    for (const [name, spec] of Object.entries(table)) {
      const source = sources.get(name)!;
      checkShape(`${folder}: ${name}`, source.shape, spec.shape);
      yield source;
      tensors[name] = loadNamed(device, spec, source, options);
      done += source.byteLength;
      options.onProgress?.(done / total);
    }
  } catch (error) {
    new FrozenParameters(device, tensors).dispose();
    throw error;
  }
  return new FrozenParameters(device, tensors);
}

/** @throws what the device throws, with the parameter that did not fit and its shape. */
function loadNamed(device: Device, spec: ParameterSpec, source: ParameterSource, options: WeightOptions): Tensor {
  try {
    return loadOne(device, spec, source, options);
  } catch (error) {
    throw isNoRoom(error) ? namingWhat(`${source.name} ${formatShape(spec.shape)}`, error) : error;
  }
}

/** @throws RangeError when a parameter of the table has no source, or a source no parameter. */
export function checkNames(table: ParameterTable, sources: ReadonlyMap<string, ParameterSource>, folder: string): void {
  const missing = Object.keys(table).find((name) => !sources.has(name));
  if (missing !== undefined) {
    throw new RangeError(`${folder}: lacks "${missing}"; it belongs to a model of another configuration`);
  }
  const foreign = [...sources.keys()].find((name) => table[name] === undefined);
  if (foreign !== undefined) {
    throw new RangeError(`${folder}: holds "${foreign}", which a model of this configuration does not have`);
  }
}

function loadOne(device: Device, spec: ParameterSpec, source: ParameterSource, options: WeightOptions): Tensor {
  const { storage, group } = options;
  const stored = storedTensor(device, source);
  const wanted = spec.dense && storage !== 'stored' ? packingOf(source.name, storage, group) : null;
  if (wanted !== null && !samePacking(stored.packing, wanted)) {
    return replaced(stored, () => packed(stored, source, wanted));
  }
  return stored.packing === null || spec.dense ? stored : replaced(stored, () => widened(stored));
}

const samePacking = (a: Packing | null, b: Packing): boolean =>
  a !== null && a.format === b.format && a.group === b.group;

/** What `make` made of a tensor whose memory is not needed any more. */
function replaced(stored: Tensor, make: () => Tensor): Tensor {
  try {
    return make();
  } finally {
    stored.dispose();
  }
}

/** A source as the device can read it, in place where it can be. */
export function storedTensor(device: Device, source: ParameterSource): Tensor {
  const { name, dtype, shape, packing } = source;
  const bytes = source.memory() ?? source.bytes();
  if (packing !== null) return new Tensor(device, shape, device.share('uint8', bytes), packing);
  if (dtype === 'F32') return new Tensor(device, shape, device.share('float', bytes));
  if ((dtype === 'BF16' || dtype === 'F16') && shape.length === 2) {
    const format = dtype === 'BF16' ? WeightFormat.bf16 : WeightFormat.f16;
    return new Tensor(device, shape, device.share('uint8', bytes), { format, group: 0 });
  }
  if (!['F64', 'BF16', 'F16'].includes(dtype)) throw new Error(`${name}: a parameter cannot be ${dtype}`);
  const buffer = device.alloc('float', size(shape));
  device.write(buffer, toFloats(source.bytes(), dtype));
  return new Tensor(device, shape, buffer);
}

/** Writes a parameter into a float tensor. @throws Error where a type of element cannot be read as a number. */
export function writeFloats(tensor: Tensor, source: ParameterSource): void {
  const stored = storedTensor(tensor.device, source);
  try {
    if (stored.packing !== null) unpackRange(stored, tensor.buffer, 0, stored.shape[0]!);
    else tensor.device.kernels.copy(tensor.buffer, stored.buffer, tensor.size);
  } finally {
    stored.dispose();
  }
}

/** The elements of a packed matrix as floats. */
function widened(stored: Tensor): Tensor {
  const { device, shape } = stored;
  const buffer = device.alloc('float', size(shape));
  unpackRange(stored, buffer, 0, shape[0]!);
  return new Tensor(device, shape, buffer);
}

/** A matrix packed anew. */
function packed(stored: Tensor, { name }: ParameterSource, packing: Packing): Tensor {
  const { device, shape } = stored;
  const [rows, columns] = shape as [number, number];
  const rowBytes = packedRowBytes(packing.format, columns, packing.group);
  const buffer = device.alloc('uint8', rows * rowBytes);
  try {
    using packer = new RowPacker(name, stored, packing);
    for (let start = 0; start < rows; start += packer.step) {
      const count = Math.min(packer.step, rows - start);
      packer.pack(device.view(buffer, start * rowBytes, count * rowBytes), start, count);
    }
  } catch (error) {
    device.free(buffer);
    throw error;
  }
  return new Tensor(device, shape, buffer, packing);
}

/**
 * The rows of a matrix packed, on the host, some at a time.
 * @throws Error for a matrix that is packed already, or holds a value that is not finite.
 */
export async function* packedPieces(
  device: Device,
  source: ParameterSource,
  packing: Packing,
): AsyncGenerator<Uint8Array> {
  const stored = storedTensor(device, source);
  const [rows, columns] = stored.shape as [number, number];
  const rowBytes = packedRowBytes(packing.format, columns, packing.group);
  try {
    using packer = new RowPacker(source.name, stored, packing);
    for (let start = 0; start < rows; start += packer.step) {
      const count = Math.min(packer.step, rows - start);
      const buffer = device.alloc('uint8', count * rowBytes);
      try {
        packer.pack(buffer, start, count);
        yield (await device.read(buffer)) as Uint8Array;
      } finally {
        device.free(buffer);
      }
    }
  } finally {
    stored.dispose();
  }
}

/** Packs rows of a matrix; holds the memory that widening them takes. */
class RowPacker implements Disposable {
  /** Rows that are packed at once at the most. */
  readonly step: number;
  readonly #name: string;
  readonly #stored: Tensor;
  readonly #packing: Packing;
  readonly #floats: DeviceBuffer | null;

  constructor(name: string, stored: Tensor, packing: Packing) {
    if (stored.packing !== null && isScaled(stored.packing.format)) {
      throw new Error(`${name}: is packed already; pack the model that it was made from, or take it as it is stored`);
    }
    const [rows, columns] = stored.shape as [number, number];
    this.step = Math.max(1, Math.floor(CHUNK / Math.max(columns, 1)));
    this.#name = name;
    this.#stored = stored;
    this.#packing = packing;
    this.#floats = stored.packing === null ? null : stored.device.alloc('float', Math.min(this.step, rows) * columns);
  }

  /** Packs `count` rows, at most `step`, from row `start` on. */
  pack(to: DeviceBuffer, start: number, count: number): void {
    const { device, buffer } = this.#stored;
    const columns = this.#stored.extent(1);
    const from = this.#floats ?? device.view(buffer, start * columns, count * columns);
    if (this.#floats !== null) unpackRange(this.#stored, this.#floats, start, count);
    try {
      device.kernels.packRows(to, from, count, columns, this.#packing.format, this.#packing.group);
    } catch (error) {
      throw new Error(`${this.#name}, rows from ${start}: ${(error as Error).message}`, { cause: error });
    }
  }

  [Symbol.dispose](): void {
    if (this.#floats !== null) this.#stored.device.free(this.#floats);
  }
}

/** Rows `start` to `start + count` of a packed matrix, as floats. */
function unpackRange(stored: Tensor, floats: DeviceBuffer, start: number, count: number): void {
  const { device, packing, buffer } = stored;
  const [rows, columns] = stored.shape as [number, number];
  const rowBytes = buffer.length / Math.max(rows, 1);
  const from = device.view(buffer, start * rowBytes, count * rowBytes);
  device.kernels.unpackRows(floats, from, count, columns, packing!.format, packing!.group);
}
