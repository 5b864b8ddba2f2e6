/**
 * @file The optimizer step behind a backward pass: the loss and the norm of the gradient are read back together, a large
 * gradient is scaled down, and where one of them is not finite the parameters stay as they are. It makes no gradients.
 */
import type { Device, FloatArray } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import type { Parameters } from '../model/parameters.js';
import { Adamw, type AdamwOptions } from './adamw.js';

export interface UpdateResult {
  /** As it was left in `lossBuffer`. */
  readonly loss: number;
  /** Global L2 norm of the gradient before clipping. */
  readonly gradientNorm: number;
  /** Whether loss or gradient was not finite, so that the update was left out. */
  readonly skipped: boolean;
}

export class Update {
  readonly optimizer: Adamw;
  readonly #parameters: Parameters;
  readonly #device: Device;
  readonly #gradientClip: number;
  /** The loss, then the squared norm. */
  readonly #scalars: DeviceBuffer;
  /** What a recorded update reads: the factor on the gradients, and what differs from step to step. */
  readonly #recorded: { readonly scale: DeviceBuffer; readonly rates: DeviceBuffer } | null;

  /** Makes the parameters trainable. @param gradientClip  largest global norm of the gradient; Infinity for none */
  constructor(parameters: Parameters, options: AdamwOptions, gradientClip: number) {
    this.optimizer = new Adamw(parameters, options);
    this.#parameters = parameters;
    this.#device = parameters.device;
    this.#gradientClip = gradientClip;
    this.#scalars = this.#device.alloc('float', 2);
    const alloc = (length: number): DeviceBuffer => this.#device.alloc('float', length);
    const hasRecorder = (this.#device.recorder?.update ?? null) !== null;
    this.#recorded = hasRecorder ? { scale: alloc(1), rates: alloc(3 * parameters.groups.length) } : null;
    void parameters.gradients;
  }

  /** [1], where the loss of a step goes before `apply`. */
  get lossBuffer(): DeviceBuffer {
    return this.#device.view(this.#scalars, 0, 1);
  }

  /**
   * One update from the gradients. On a device that decides by itself (`Device.guarded`) all of it is enqueued when this
   * returns its promise, so that the next step may be enqueued before the numbers of this one are there.
   */
  async apply(learningRate: number): Promise<UpdateResult> {
    const { gradients, length } = this.#parameters;
    const device = this.#device;
    device.kernels.sumOfSquares(device.view(this.#scalars, 1, 1), gradients, length);
    const clip = this.#gradientClip;
    const update = (scale: number): void => {
      this.optimizer.update(learningRate, scale);
      this.#parameters.refreshBf16();
    };
    const reading = this.#found();
    device.guarded?.(this.#scalars, clip, () => update(1));
    const found = await reading;
    const { gradientNorm, skipped } = found;
    if (device.guarded === undefined) {
      if (!skipped) update(gradientNorm > clip ? clip / gradientNorm : 1);
    } else if (skipped) this.optimizer.step -= 1;
    return found;
  }

  /** Enqueues an update from the gradients, to be recorded: it finds the numbers of its step in memory. */
  enqueue(): void {
    const { scale, rates } = this.#recorded!;
    const { gradients, length } = this.#parameters;
    const update = this.#device.recorder!.update!;
    this.#device.kernels.sumOfSquares(this.#device.view(this.#scalars, 1, 1), gradients, length);
    update.clipScale(scale, this.#scalars, this.#gradientClip);
    this.optimizer.enqueue(update, scale, rates);
  }

  /** One update by what `enqueue` recorded. @param run  replays the step */
  async applyRecorded(learningRate: number, run: () => void): Promise<UpdateResult> {
    this.#device.write(this.#recorded!.rates, this.optimizer.rates(learningRate));
    run();
    const found = await this.#found();
    if (!found.skipped) this.optimizer.step += 1;
    return found;
  }

  async #found(): Promise<UpdateResult> {
    const [loss, squares] = (await this.#device.read(this.#scalars)) as FloatArray;
    const gradientNorm = Math.sqrt(squares!);
    return { loss: loss!, gradientNorm, skipped: !Number.isFinite(loss) || !Number.isFinite(gradientNorm) };
  }

  dispose(): void {
    this.optimizer.dispose();
    this.#device.free(this.#scalars);
    for (const buffer of Object.values(this.#recorded ?? {})) this.#device.free(buffer);
  }
}
