/** @file AdamW over the flat parameters of a model, with its moments (Loshchilov & Hutter, arXiv 1711.05101). */
import type { FloatArray, RecordedUpdate } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import type { ParameterGroup, Parameters } from '../model/parameters.js';

export interface AdamwOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Which parameters decay: those marked in their spec (matrices), or all. */
  readonly decay: 'matrices' | 'all';
}

const rateOf = (group: ParameterGroup, learningRate: number): number =>
  group.learningRate === undefined ? learningRate : group.learningRate(learningRate);

export class Adamw {
  readonly options: AdamwOptions;
  /** Steps taken. */
  step = 0;
  readonly #parameters: Parameters;
  /** First and second moments, as long as the flat parameters. */
  readonly m: DeviceBuffer;
  readonly v: DeviceBuffer;

  constructor(parameters: Parameters, options: AdamwOptions) {
    const { device, length } = parameters;
    this.options = options;
    this.#parameters = parameters;
    this.m = device.alloc('float', length);
    this.v = device.alloc('float', length);
    device.kernels.fill(this.m, 0, length);
    device.kernels.fill(this.v, 0, length);
  }

  /**
   * One update from the gradients.
   * @param learningRate  of this step; parameters with a rule of their own make theirs from it
   * @param gradScale     factor on the gradients (clipping)
   */
  update(learningRate: number, gradScale: number): void {
    this.step += 1;
    for (const group of this.#parameters.groups) this.#updateGroup(group, rateOf(group, learningRate), gradScale);
  }

  #updateGroup(group: ParameterGroup, learningRate: number, gradScale: number): void {
    const { start, end } = group;
    const { device, values, gradients } = this.#parameters;
    const { beta1, beta2, eps } = this.options;
    const part = (buffer: DeviceBuffer) => device.view(buffer, start, end - start);
    device.kernels.adamw(
      part(values),
      part(this.m),
      part(this.v),
      part(gradients),
      end - start,
      gradScale,
      learningRate,
      beta1,
      beta2,
      eps,
      this.#decayOf(group),
      1 - beta1 ** this.step,
      1 - beta2 ** this.step,
    );
  }

  #decayOf({ decay }: ParameterGroup): number {
    return decay || this.options.decay === 'all' ? this.options.weightDecay : 0;
  }

  /** The next step's numbers as `enqueue` reads them: three for each group. */
  rates(learningRate: number): Float64Array {
    const { beta1, beta2 } = this.options;
    const [correction1, correction2] = [1 - beta1 ** (this.step + 1), 1 - beta2 ** (this.step + 1)];
    const perGroup = this.#parameters.groups.map((group) => {
      const rate = rateOf(group, learningRate);
      return [rate / correction1, 1 / correction2, rate * this.#decayOf(group)];
    });
    return Float64Array.from(perGroup.flat());
  }

  /** Enqueues an update to be recorded. @param scale  [1], factor on the gradients; NaN for no update */
  enqueue(update: RecordedUpdate, scale: DeviceBuffer, rates: DeviceBuffer): void {
    const { device, values, gradients, groups, bf16 } = this.#parameters;
    const { beta1, beta2, eps } = this.options;
    groups.forEach(({ start, end }, k) => {
      const part = (buffer: DeviceBuffer) => device.view(buffer, start, end - start);
      const own = device.view(rates, 3 * k, 3);
      const copy = bf16 === null ? null : part(bf16);
      const moments = [part(this.m), part(this.v)] as const;
      update.adamw(part(values), copy, ...moments, part(gradients), scale, own, end - start, beta1, beta2, eps);
    });
  }

  /** The moments, for a checkpoint. */
  async moments(): Promise<{ m: FloatArray; v: FloatArray }> {
    const { device } = this.#parameters;
    return { m: (await device.read(this.m)) as FloatArray, v: (await device.read(this.v)) as FloatArray };
  }

  /** Puts back what `moments` gave. @throws RangeError when the lengths differ. */
  restore(step: number, m: FloatArray, v: FloatArray): void {
    const { device } = this.#parameters;
    device.write(this.m, m);
    device.write(this.v, v);
    this.step = step;
  }

  dispose(): void {
    this.#parameters.device.free(this.m);
    this.#parameters.device.free(this.v);
  }
}
