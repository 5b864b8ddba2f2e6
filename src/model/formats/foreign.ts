/**
 * @file How the tensors of another library's file are made of this library's parameters: whole ones, several whose rows
 * follow each other, or one with its axes in another order. One table per layout serves reading and writing.
 */
import type { HostMemory } from '../../device/device.js';
import { feedForwardWidth } from '../../layers/feed-forward.js';
import { size, type Shape } from '../../tensor/shape.js';
import type { ParameterTable } from '../../layers/parameter.js';
import type { ModelConfig } from '../config.js';
import { ELEMENT_BYTES, SafetensorsError, type SafetensorsDtype } from '../safetensors-header.js';
import type { TensorSet } from '../tensor-set.js';
import type { ParameterSource } from './source.js';

export interface ForeignTensor {
  /** As the other library calls it. */
  readonly name: string;
  readonly shape: Shape;
  /** The parameters whose elements follow each other in it. */
  readonly parts: readonly string[];
  /** Where it holds one parameter with its axes in another order. */
  readonly transposed?: Transposed;
}

/** The elements of a tensor, seen as an array of shape `from`, become a parameter by taking its axes in the order `axes`. */
export interface Transposed {
  readonly from: Shape;
  readonly axes: readonly number[];
}

/**
 * The parameters in the tensors of a file.
 * @param derived  names of tensors that may be there and are passed over
 * @throws SafetensorsError for a tensor that is missing, has another shape or type, or that the layout does not know.
 */
export function foreignSources(
  file: TensorSet,
  tensors: readonly ForeignTensor[],
  table: ParameterTable,
  derived?: RegExp,
): Map<string, ParameterSource> {
  checkTensors(file, tensors, derived);
  return new Map(tensors.flatMap((tensor) => partsOf(file, tensor, table).map((part) => [part.name, part] as const)));
}

function checkTensors(file: TensorSet, tensors: readonly ForeignTensor[], derived?: RegExp): void {
  const known = new Set(tensors.map(({ name }) => name));
  for (const { name, shape } of tensors) {
    const found = file.tensors.get(name);
    if (found === undefined) throw new SafetensorsError(`${file.path}: lacks the tensor "${name}"`);
    if (found.shape.join() !== shape.join()) {
      throw new SafetensorsError(
        `${file.path}: ${name} must be [${shape.join(',')}] by the configuration, got [${found.shape.join(',')}]`,
      );
    }
  }
  const stranger = [...file.tensors.keys()].find((name) => !known.has(name) && derived?.test(name) !== true);
  if (stranger === undefined) return;
  throw new SafetensorsError(`${file.path}: holds "${stranger}", which a model of its configuration does not have`);
}

function partsOf(
  file: TensorSet,
  { name, parts, transposed }: ForeignTensor,
  table: ParameterTable,
): ParameterSource[] {
  const { dtype } = file.tensors.get(name)!;
  const width = ELEMENT_BYTES[dtype];
  let offset = 0;
  return parts.map((part) => {
    const { shape } = table[part]!;
    const byteLength = size(shape) * width;
    const begin = offset;
    offset += byteLength;
    const bytes = (): Uint8Array => {
      const stored = file.view(name).subarray(begin, begin + byteLength);
      return transposed === undefined ? stored : transpose(stored, width, transposed);
    };
    const memory = (): HostMemory | null => (transposed === undefined ? file.memory(name, begin, byteLength) : null);
    return { name: part, tensor: name, shape, dtype, packing: null, byteLength, bytes, memory };
  });
}

/** A factor whose feed-forward layer has exactly this width, whatever the rounding of the quotient. */
export function factorOf(width: number, dim: number): number {
  const factor = width / dim;
  return feedForwardWidth(dim, factor, 1) === width ? factor : (width - 0.5) / dim;
}

/** Why no layout of NX-AI can hold the frame around a model's mixers, or null. */
export function notPublishedFrame({ frame, positions, embeddingNorm, feedForward }: ModelConfig): string | null {
  if (frame !== 'residual') return 'its blocks have no residual connections';
  if (positions !== 'none') return 'it has learned positions';
  if (embeddingNorm) return 'it has a norm behind the embedding';
  const { behind, kind, bias } = feedForward;
  if (behind !== 'published' || kind !== 'gated' || bias)
    return 'its feed-forward layers are not the gated ones of xLSTM';
  return null;
}

/** The bytes of a foreign tensor out of those of its parameters. */
export function foreignBytes(
  { parts, transposed }: ForeignTensor,
  source: ReadonlyMap<string, ParameterSource>,
): Uint8Array[] {
  return parts.map((part) => {
    const { dtype, bytes } = source.get(part)!;
    return transposed === undefined ? bytes() : transpose(bytes(), ELEMENT_BYTES[dtype], inverse(transposed));
  });
}

/** The type of a foreign tensor. @throws Error where its parameters have different ones. */
export function foreignDtype(
  { name, parts }: ForeignTensor,
  source: ReadonlyMap<string, ParameterSource>,
): SafetensorsDtype {
  const types = [...new Set(parts.map((part) => source.get(part)!.dtype))];
  if (types.length === 1) return types[0]!;
  throw new Error(`convert: "${name}" joins parameters of types ${types.join(' and ')}; choose one with --dtype`);
}

function inverse({ from, axes }: Transposed): Transposed {
  return { from: axes.map((axis) => from[axis]!), axes: axes.map((_, axis) => axes.indexOf(axis)) };
}

/** A copy of an array's elements with its axes in another order. */
function transpose(bytes: Uint8Array, width: number, { from, axes }: Transposed): Uint8Array {
  const strides = from.map((_, axis) => size(from.slice(axis + 1)));
  const to = axes.map((axis) => from[axis]!);
  const steps = axes.map((axis) => strides[axis]!);
  const out = new Uint8Array(bytes.length);
  const index = to.map(() => 0);
  for (let element = 0; element < size(to); element++) {
    const source = index.reduce((sum, k, axis) => sum + k * steps[axis]!, 0) * width;
    for (let b = 0; b < width; b++) out[element * width + b] = bytes[source + b]!;
    for (let axis = to.length - 1; axis >= 0 && ++index[axis]! === to[axis]; axis--) index[axis] = 0;
  }
  return out;
}
