/** @file Tensor: a shape and a buffer on one device, with the gradient that back-propagation adds up. */
import type { Device, FloatArray, HostArray } from '../device/device.js';
import type { DeviceBuffer, Dtype, WeightFormat } from '../device/kernels.js';
import { packedRowBytes } from '../device/packing.js';
import { currentScope, innermostScope, type Ownable, type Scope } from './scope.js';
import { checkExtents, checkShape, formatShape, size, type Shape } from './shape.js';

/** Where the gradient of an alias lives: a stretch of another tensor's gradient. */
interface GradAlias {
  readonly base: Tensor;
  readonly offset: number;
}

/** How numbers may be stored; `bf16` where the device `hasBf16`. */
export type FloatDtype = 'float' | 'bf16';

const isFloat = (dtype: Dtype): dtype is FloatDtype => dtype === 'float' || dtype === 'bf16';

/** How the rows of a matrix that is only read are stored; the layouts are in `device/packing.ts`. */
export interface Packing {
  readonly format: WeightFormat;
  /** Elements that share a scale; 0 where the format has none, or one per row. */
  readonly group: number;
}

export class Tensor implements Ownable {
  readonly device: Device;
  readonly shape: Shape;
  readonly buffer: DeviceBuffer;
  /** Number of elements. */
  readonly size: number;
  /** The format of a packed matrix, which `linear` and `embedding` can read; null for everything else. */
  readonly packing: Packing | null;
  /** Whether a gradient can reach this tensor: it is a parameter, or an op made it from one while recording. */
  requiresGrad = false;
  #grad: DeviceBuffer | null = null;
  /** How many tensors have this gradient, where another one had it too. */
  #sharers: { count: number } | null = null;
  #alias: GradAlias | null = null;
  #bf16: DeviceBuffer | null = null;
  #retained = false;

  /** Wraps a buffer; ops and the parameter store use this, everyone else `Tensor.from`. */
  constructor(device: Device, shape: Shape, buffer: DeviceBuffer, packing: Packing | null = null) {
    this.size = size(shape);
    const length = packing === null ? this.size : packedLength(shape, packing);
    if (buffer.length !== length) {
      throw new RangeError(`Tensor: a buffer of ${buffer.length} does not fill shape ${formatShape(shape)}`);
    }
    this.device = device;
    this.shape = shape;
    this.buffer = buffer;
    this.packing = packing;
  }

  /**
   * A tensor with a copy of `data`. Inside a scope it belongs to that scope, outside to the caller (`using` or
   * `dispose`). Int32Array and Uint8Array make tensors of those types, everything else floats.
   * @throws RangeError when the data does not fill the shape.
   */
  static from(device: Device, data: HostArray | readonly number[], shape: Shape): Tensor {
    checkExtents('Tensor.from', shape);
    if (data.length !== size(shape)) {
      throw new RangeError(
        `Tensor.from: ${data.length} values do not fill shape ${formatShape(shape)} (${size(shape)} elements)`,
      );
    }
    const host = Array.isArray(data) ? Float64Array.from(data as readonly number[]) : (data as HostArray);
    const dtype: Dtype = host instanceof Int32Array ? 'int32' : host instanceof Uint8Array ? 'uint8' : 'float';
    const tensor = Tensor.#create(device, dtype, shape);
    device.write(tensor.buffer, host);
    return tensor;
  }

  /** A float tensor filled with `value`. It belongs to the scope or the caller, as with `from`. */
  static full(device: Device, shape: Shape, value: number): Tensor {
    checkExtents('Tensor.full', shape);
    const tensor = Tensor.#create(device, 'float', shape);
    device.kernels.fill(tensor.buffer, value, tensor.size);
    return tensor;
  }

  static #create(device: Device, dtype: Dtype, shape: Shape): Tensor {
    const buffer = device.alloc(dtype, size(shape));
    innermostScope(device)?.adopt(buffer);
    return new Tensor(device, shape, buffer);
  }

  /** An uninitialised tensor of the current scope: the output of an op. @throws Error outside a scope. */
  static output(device: Device, shape: Shape, dtype: FloatDtype = 'float'): Tensor {
    return new Tensor(device, shape, currentScope(device).alloc(dtype, size(shape)));
  }

  /** As `output`, of activations stored like those of `x`. */
  static outputLike(x: Tensor, shape: Shape = x.shape): Tensor {
    return Tensor.output(x.device, shape, x.floatDtype);
  }

  get dtype(): Dtype {
    return this.buffer.dtype;
  }

  /** How its numbers are stored. */
  get floatDtype(): FloatDtype {
    return this.dtype === 'bf16' ? 'bf16' : 'float';
  }

  /**
   * The numbers as bf16, as products with bf16 activations take a matrix: the copy that was attached, or one of the
   * current scope.
   */
  asBf16(): DeviceBuffer {
    if (this.dtype === 'bf16') return this.buffer;
    if (this.#bf16 !== null) return this.#bf16;
    const copy = currentScope(this.device).alloc('bf16', this.size);
    this.device.cast(copy, this.buffer);
    return copy;
  }

  /** The same numbers as float, without a gradient: this tensor, or a copy in the current scope. */
  asFloat(): Tensor {
    if (this.dtype !== 'bf16') return this;
    const copy = Tensor.output(this.device, this.shape);
    this.device.cast(copy.buffer, this.buffer);
    return copy;
  }

  /** Gives a copy of the numbers as bf16, memory of the caller's, who keeps it up to date. */
  attachBf16(copy: DeviceBuffer): void {
    this.#bf16 = copy;
  }

  /** Extent of an axis, negative counted from the end. @throws RangeError when there is none. */
  extent(axis: number): number {
    const n = this.shape.at(axis);
    if (n === undefined) throw new RangeError(`Tensor: no axis ${axis} in shape ${formatShape(this.shape)}`);
    return n;
  }

  /** A copy of the values on the host, once all work enqueued before has run. */
  async data(): Promise<FloatArray> {
    if (this.packing !== null) return this.#unpackedData();
    if (!isFloat(this.dtype)) throw new TypeError(`Tensor.data: this tensor holds ${this.dtype}, use ints()`);
    return (await this.device.read(this.buffer)) as FloatArray;
  }

  /** As `data`, of a tensor that the caller owns, which is freed. */
  async take(): Promise<FloatArray> {
    try {
      return await this.data();
    } finally {
      this.dispose();
    }
  }

  async #unpackedData(): Promise<FloatArray> {
    const values = this.device.alloc('float', this.size);
    try {
      unpackInto(values, this);
      return (await this.device.read(values)) as FloatArray;
    } finally {
      this.device.free(values);
    }
  }

  /** As `data`, for int32 and uint8 tensors. */
  async ints(): Promise<Int32Array | Uint8Array> {
    if (isFloat(this.dtype)) throw new TypeError('Tensor.ints: this tensor holds floats, use data()');
    return (await this.device.read(this.buffer)) as Int32Array | Uint8Array;
  }

  /** The one value of a scalar. */
  async item(): Promise<number> {
    if (this.size !== 1) throw new RangeError(`Tensor.item: needs one element, got ${formatShape(this.shape)}`);
    return (await this.data())[0]!;
  }

  /** Where backward rules add this tensor's gradient; zeros until the first one does. */
  get grad(): DeviceBuffer {
    if (this.#alias !== null) return this.device.view(this.#alias.base.grad, this.#alias.offset, this.size);
    if (this.#grad === null) {
      this.#grad = currentScope(this.device).alloc(this.floatDtype, this.size);
      this.device.kernels.fill(this.#grad, 0, this.size);
    } else if (this.#isShared) {
      const own = currentScope(this.device).alloc(this.floatDtype, this.size);
      this.device.kernels.copy(own, this.#grad, this.size);
      this.#leaveSharers();
      this.#grad = own;
    }
    return this.#grad;
  }

  /**
   * Memory for the whole gradient, uninitialised, where none was added yet: the rule that asks must write all of it. Null
   * where there is one already; then rules add to `grad`.
   */
  get freshGrad(): DeviceBuffer | null {
    if (this.#alias !== null) return this.#alias.base.size === this.size ? this.#alias.base.freshGrad : null;
    if (this.#grad !== null) return null;
    this.#grad = currentScope(this.device).alloc(this.floatDtype, this.size);
    return this.#grad;
  }

  /** Adds factor * dy to the gradient. */
  addGrad(dy: DeviceBuffer, factor = 1): void {
    const { kernels } = this.device;
    const fresh = factor === 1 ? this.freshGrad : null;
    if (fresh !== null) kernels.copy(fresh, dy, this.size);
    else kernels.accumulate(this.grad, dy, factor, this.size);
  }

  /** Adds the gradient of a tensor of the same size. Where there was none, both share it until something is added to one. */
  addGradOf(y: Tensor): void {
    if (this.#alias !== null && this.#alias.base.size === this.size) return this.#alias.base.addGradOf(y);
    const dy = y.gradIfAny;
    if (dy === null) return;
    if (this.#alias !== null || y.#alias !== null || this.#grad !== null || y.floatDtype !== this.floatDtype) {
      return this.addGrad(dy);
    }
    this.#grad = dy;
    this.#sharers = y.#sharers ??= { count: 1 };
    this.#sharers.count++;
  }

  get #isShared(): boolean {
    return this.#sharers !== null && this.#sharers.count > 1;
  }

  #leaveSharers(): void {
    if (this.#sharers !== null) this.#sharers.count--;
    this.#sharers = null;
  }

  /** The gradient, or null where none was added. */
  get gradIfAny(): DeviceBuffer | null {
    if (this.#alias !== null) return this.#alias.base.gradIfAny === null ? null : this.grad;
    return this.#grad;
  }

  /** The gradient as a tensor that shares its memory. */
  gradTensor(): Tensor {
    return new Tensor(this.device, this.shape, this.grad);
  }

  /** Makes this a leaf whose gradient is added into `grad`, memory that the caller owns. */
  attachGrad(grad: DeviceBuffer): void {
    if (grad.length !== this.size)
      throw new RangeError(`Tensor.attachGrad: needs ${this.size} elements, got ${grad.length}`);
    this.#grad = grad;
    this.requiresGrad = true;
  }

  /** The same memory under another shape; gradients arrive in this tensor. @throws RangeError on a wrong size. */
  reshape(shape: Shape): Tensor {
    if (this.packing !== null) throw new TypeError('reshape: a packed matrix keeps its shape');
    if (size(shape) !== this.size) {
      throw new RangeError(
        `reshape: ${formatShape(this.shape)} has ${this.size} elements, ${formatShape(shape)} ${size(shape)}`,
      );
    }
    return this.#share(shape, 0);
  }

  /** Rows `start` to `end` of the first axis, sharing memory and gradient. @throws RangeError when out of range. */
  rows(start: number, end: number): Tensor {
    const rows = this.extent(0);
    if (start < 0 || end < start || end > rows) {
      throw new RangeError(`rows: ${start}..${end} is not within 0..${rows} of ${formatShape(this.shape)}`);
    }
    const shape = [end - start, ...this.shape.slice(1)];
    const width = this.buffer.length / Math.max(rows, 1);
    if (this.packing === null) return this.#share(shape, start * width);
    const part = this.device.view(this.buffer, start * width, (end - start) * width);
    return new Tensor(this.device, shape, part, this.packing);
  }

  #share(shape: Shape, offset: number): Tensor {
    const whole = offset === 0 && size(shape) === this.size;
    const alias = new Tensor(
      this.device,
      shape,
      whole ? this.buffer : this.device.view(this.buffer, offset, size(shape)),
    );
    if (this.#bf16 !== null) {
      alias.#bf16 = whole ? this.#bf16 : this.device.view(this.#bf16, offset, size(shape));
    }
    alias.requiresGrad = this.requiresGrad;
    alias.#alias = { base: this, offset };
    return alias;
  }

  /** The same values as a leaf: no gradient flows from it to what made this tensor. */
  detach(): Tensor {
    return new Tensor(this.device, this.shape, this.buffer);
  }

  /** This tensor, or the elements of a packed matrix as floats of the current scope. */
  unpacked(): Tensor {
    if (this.packing === null) return this;
    const floats = Tensor.output(this.device, this.shape);
    unpackInto(floats.buffer, this);
    return floats;
  }

  /** Keeps the values through `backward` with `release`. */
  retain(): this {
    if (this.#alias === null) this.#retained = true;
    else this.#alias.base.retain();
    return this;
  }

  /** Frees values and gradient, unless they are retained or belong to someone else. For `backward`. */
  releaseTo(scope: Scope): void {
    if (this.#grad !== null && !this.#isShared) scope.release(this.#grad);
    this.#leaveSharers();
    this.#grad = null;
    if (!this.#retained) scope.release(this.buffer);
  }

  ownedBuffers(): readonly DeviceBuffer[] {
    return this.#alias === null ? [this.buffer] : this.#alias.base.ownedBuffers();
  }

  /** Frees the memory of a tensor that the caller owns. */
  dispose(): void {
    this.device.free(this.buffer);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Bytes of a packed matrix [rows,columns]. */
function packedLength(shape: Shape, { format, group }: Packing): number {
  if (shape.length !== 2) throw new RangeError(`Tensor: only a matrix can be packed, got ${formatShape(shape)}`);
  return shape[0]! * packedRowBytes(format, shape[1]!, group);
}

/** Writes the elements of a packed matrix into a float buffer of as many. */
function unpackInto(values: DeviceBuffer, { device, shape, buffer, packing }: Tensor): void {
  const { format, group } = packing!;
  device.kernels.unpackRows(values, buffer, shape[0]!, shape[1]!, format, group);
}

/** Checks that two tensors have the same shape. @throws RangeError naming both. */
export function checkSameShape(what: string, a: Tensor, b: Tensor): void {
  checkShape(what, b.shape, a.shape);
}
