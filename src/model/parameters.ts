/**
 * @file The parameters of a model in memory: one flat buffer for all values and, for training, one for all gradients,
 * so that optimizer, norm, checkpoint and all-reduce each see one stretch. What is trained alike lies together.
 */
import type { Device, FloatArray } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import { namingWhat } from '../device/out-of-memory.js';
import {
  initialValues,
  type LearningRateRule,
  type ParameterSpec,
  type ParameterTable,
  type ParameterTensors,
} from '../layers/parameter.js';
import { fold, type RandomKey } from '../tensor/random.js';
import { formatShape, size } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

/** Each parameter begins at a multiple of this many elements, so that vector loads are aligned. */
const ALIGN = 16;

export interface ParameterPlace {
  readonly name: string;
  readonly spec: ParameterSpec;
  /** Offset and length in the flat buffers, in elements. */
  readonly offset: number;
  readonly length: number;
}

/** A stretch of the flat buffers, in elements, whose parameters are trained alike. */
export interface ParameterGroup {
  readonly decay: boolean;
  readonly learningRate: LearningRateRule | undefined;
  readonly start: number;
  readonly end: number;
}

export class Parameters {
  readonly device: Device;
  readonly places: readonly ParameterPlace[];
  /** Elements of the flat buffers, padding included. */
  readonly length: number;
  /** Together they are all of it; those with weight decay come first. */
  readonly groups: readonly ParameterGroup[];
  readonly values: DeviceBuffer;
  readonly tensors: ParameterTensors;
  #gradients: DeviceBuffer | null = null;
  /** All values as bf16. */
  #bf16: DeviceBuffer | null = null;

  /** Allocates without initialising; see `initialize` and `write`. */
  constructor(device: Device, table: ParameterTable) {
    this.device = device;
    const places: ParameterPlace[] = [];
    const groups: ParameterGroup[] = [];
    let offset = 0;
    for (const entries of trainedAlike(table)) {
      const [, { decay, learningRate }] = entries[0];
      const start = offset;
      for (const [name, spec] of entries) {
        const length = size(spec.shape);
        places.push({ name, spec, offset, length });
        offset += Math.ceil(length / ALIGN) * ALIGN;
      }
      groups.push({ decay, learningRate, start, end: offset });
    }
    this.places = places;
    this.groups = groups;
    this.length = offset;
    this.values = this.#allocate('parameters');
    device.kernels.fill(this.values, 0, offset);
    this.tensors = Object.fromEntries(
      this.places.map((place) => {
        const buffer = device.view(this.values, place.offset, place.length);
        return [place.name, new Tensor(device, place.spec.shape, buffer)];
      }),
    );
  }

  /** @throws what the device throws, with what did not fit. */
  #allocate(what: string): DeviceBuffer {
    try {
      return this.device.alloc('float', this.length);
    } catch (error) {
      throw namingWhat(`the ${what} of the model, all in one buffer (${this.#largest()})`, error);
    }
  }

  /** "the largest is embedding.weight [50304,768]" */
  #largest(): string {
    const { name, spec } = this.places.reduce((a, b) => (b.length > a.length ? b : a));
    return `the largest is ${name} ${formatShape(spec.shape)}`;
  }

  /** Gives every parameter its initial value; each depends on the key and its own name alone. */
  initialize(key: RandomKey): void {
    for (const { name, spec } of this.places) {
      this.device.write(this.tensors[name]!.buffer, initialValues(spec, fold(key, name)));
    }
    this.refreshBf16();
  }

  /** Overwrites one parameter. @throws RangeError when it does not exist or the length differs. */
  write(name: string, values: FloatArray): void {
    const tensor = this.tensors[name];
    if (tensor === undefined) throw new RangeError(`Parameters.write: there is no parameter "${name}"`);
    this.device.write(tensor.buffer, values);
    if (this.#bf16 !== null) this.device.cast(tensor.asBf16(), tensor.buffer);
  }

  /** Keeps a copy of all values as bf16, for products with bf16 activations; `refreshBf16` brings it up to date. */
  keepBf16(): void {
    if (this.#bf16 === null) {
      this.#bf16 = this.device.alloc('bf16', this.length);
      for (const { name, offset, length } of this.places) {
        this.tensors[name]!.attachBf16(this.device.view(this.#bf16, offset, length));
      }
    }
    this.refreshBf16();
  }

  /** The copy as bf16, or null where none is kept. */
  get bf16(): DeviceBuffer | null {
    return this.#bf16;
  }

  /** After the values have changed. Does nothing where no copy is kept. */
  refreshBf16(): void {
    if (this.#bf16 !== null) this.device.cast(this.#bf16, this.values);
  }

  /** All gradients, as one buffer that starts at zero. Makes the parameters trainable. */
  get gradients(): DeviceBuffer {
    if (this.#gradients === null) {
      this.#gradients = this.#allocate('gradients');
      for (const { name, offset, length } of this.places) {
        this.tensors[name]!.attachGrad(this.device.view(this.#gradients, offset, length));
      }
      this.zeroGradients();
    }
    return this.#gradients;
  }

  zeroGradients(): void {
    this.device.kernels.fill(this.gradients, 0, this.length);
  }

  dispose(): void {
    this.device.free(this.values);
    if (this.#gradients !== null) this.device.free(this.#gradients);
    if (this.#bf16 !== null) this.device.free(this.#bf16);
    this.#bf16 = null;
    this.#gradients = null;
  }
}

type Entry = readonly [name: string, spec: ParameterSpec];

/** The parameters of a table by how they are trained, those with weight decay first. */
function trainedAlike(table: ParameterTable): [Entry, ...Entry[]][] {
  const groups: [Entry, ...Entry[]][] = [];
  for (const entry of Object.entries(table)) {
    const [, { decay, learningRate }] = entry;
    const group = groups.find(([[, spec]]) => spec.decay === decay && spec.learningRate === learningRate);
    if (group === undefined) groups.push([entry]);
    else group.push(entry);
  }
  return [...groups.filter(([[, { decay }]]) => decay), ...groups.filter(([[, { decay }]]) => !decay)];
}

/** Parameters that stay as they are, each in memory of its own: matrices may be packed, or lie in a mapped file. */
export class FrozenParameters {
  readonly device: Device;
  readonly tensors: ParameterTensors;

  constructor(device: Device, tensors: ParameterTensors) {
    this.device = device;
    this.tensors = tensors;
  }

  dispose(): void {
    for (const { buffer } of Object.values(this.tensors)) this.device.free(buffer);
  }
}
