/** @file The recurrent state of a model: one record of tensors per block, of constant size, independent of its scope. */
import { bytesOf } from '../device/device.js';
import type { DeviceBuffer } from '../device/kernels.js';
import type { MixerState } from '../mixers/mixer.js';
import type { Ownable } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

export class ModelState implements Ownable {
  readonly blocks: readonly MixerState[];

  constructor(blocks: readonly MixerState[]) {
    this.blocks = blocks;
  }

  get tensors(): readonly Tensor[] {
    return this.blocks.flatMap((block) => Object.values(block));
  }

  /** Bytes on the device. */
  get bytes(): number {
    return this.tensors.reduce((total, { device, buffer }) => total + bytesOf(device, buffer), 0);
  }

  ownedBuffers(): readonly DeviceBuffer[] {
    return this.tensors.flatMap((tensor) => [...tensor.ownedBuffers()]);
  }

  /** Keeps the values through `backward` with `release`. */
  retain(): this {
    for (const tensor of this.tensors) tensor.retain();
    return this;
  }

  /** The same values without a way back for gradients: truncated back-propagation. Shares the memory. */
  detach(): ModelState {
    return this.#map((tensor) => tensor.detach());
  }

  /** An independent copy: continue both from here. It belongs to the scope, or to the caller outside of one. */
  clone(): ModelState {
    return this.#map((tensor) => {
      const copy = Tensor.full(tensor.device, tensor.shape, 0);
      tensor.device.kernels.copy(copy.buffer, tensor.buffer, tensor.size);
      return copy;
    });
  }

  #map(each: (tensor: Tensor) => Tensor): ModelState {
    return new ModelState(
      this.blocks.map((block) => Object.fromEntries(Object.entries(block).map(([name, t]) => [name, each(t)]))),
    );
  }

  /** Frees what `next` did not take over: after a step in place. */
  giveWayTo(next: ModelState): void {
    const kept = new Set(next.tensors.map(({ buffer }) => buffer));
    for (const tensor of this.tensors) if (!kept.has(tensor.buffer)) tensor.dispose();
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
