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

  /** Makes the parameters trainable. @param gradientClip  largest global norm of the gradient; Infinity for none */
  constructor(parameters: Parameters, options: AdamwOptions, gradientClip: number) {
    this.optimizer = new Adamw(parameters, options);
    this.#parameters = parameters;
    this.#device = parameters.device;
    this.#gradientClip = gradientClip;
    this.#scalars = this.#device.alloc('float', 2);
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
    const reading = device.read(this.#scalars);
    device.guarded?.(this.#scalars, clip, () => update(1));
    const [loss, squares] = (await reading) as FloatArray;
    const gradientNorm = Math.sqrt(squares!);
    const skipped = !Number.isFinite(loss) || !Number.isFinite(gradientNorm);
    if (device.guarded === undefined) {
      if (!skipped) update(gradientNorm > clip ? clip / gradientNorm : 1);
    } else if (skipped) this.optimizer.step -= 1;
    return { loss: loss!, gradientNorm, skipped };
  }

  dispose(): void {
    this.optimizer.dispose();
    this.#device.free(this.#scalars);
  }
}
