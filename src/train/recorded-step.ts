/**
 * @file An optimizer step recorded once, with the memory that its batches go to, and replayed for every further batch of
 * the same shape. Whether a step can be recorded is the trainer's to know.
 */
import type { Device, Recorder, Recording } from '../device/device.js';
import { OutOfMemoryError } from '../device/out-of-memory.js';
import { Tensor } from '../tensor/tensor.js';
import type { HostBatch } from './trainer.js';

/** A batch on the device: tokens and targets int32 [B,T], reset uint8 [B,T]. */
export interface DeviceBatch {
  readonly tokens: Tensor;
  readonly targets: Tensor;
  readonly reset: Tensor | null;
}

/** A copy of a batch; it belongs to the scope, or to the caller. */
export const toDevice = (device: Device, { B, T, tokens, targets, reset }: HostBatch): DeviceBatch => ({
  tokens: Tensor.from(device, tokens, [B, T]),
  targets: Tensor.from(device, targets, [B, T]),
  reset: reset === null ? null : Tensor.from(device, reset, [B, T]),
});

const tensorsOf = ({ tokens, targets, reset }: DeviceBatch): Tensor[] =>
  reset === null ? [tokens, targets] : [tokens, targets, reset];

const shapeOf = (batches: readonly HostBatch[]): string =>
  batches.map(({ B, T, reset }) => `${B},${T},${reset !== null}`).join(' ');

export class RecordedStep {
  readonly #device: Device;
  readonly #recorder: Recorder;
  readonly #enqueue: (batches: readonly DeviceBatch[]) => void;
  /** Shape of the step before: a second one of it is worth a recording, and what it needs is known to fit. */
  #before = '';
  #shape = '';
  #recording: Recording | null = null;
  #inputs: readonly DeviceBatch[] = [];
  #refused = false;

  /** @param enqueue  enqueues the whole step */
  constructor(device: Device, recorder: Recorder, enqueue: (batches: readonly DeviceBatch[]) => void) {
    this.#device = device;
    this.#recorder = recorder;
    this.#enqueue = enqueue;
  }

  /** Puts batches where a recorded step of their shape reads them. @returns what runs it, or null where there is none */
  ready(batches: readonly HostBatch[]): (() => void) | null {
    const shape = shapeOf(batches);
    if (this.#recording?.isDestroyed === true) this.dispose();
    if (shape !== this.#shape && shape === this.#before && !this.#refused) this.#record(batches, shape);
    this.#before = shape;
    const recording = this.#recording;
    if (recording === null || shape !== this.#shape) return null;
    batches.forEach(({ tokens, targets, reset }, micro) => {
      const to = this.#inputs[micro]!;
      this.#device.write(to.tokens.buffer, tokens);
      this.#device.write(to.targets.buffer, targets);
      if (reset !== null) this.#device.write(to.reset!.buffer, reset);
    });
    return () => recording.launch();
  }

  #record(batches: readonly HostBatch[], shape: string): void {
    this.dispose();
    this.#inputs = batches.map((batch) => toDevice(this.#device, batch));
    try {
      this.#recording = this.#recorder.record(() => this.#enqueue(this.#inputs));
      this.#shape = shape;
    } catch (error) {
      this.dispose();
      if (!(error instanceof OutOfMemoryError)) throw error;
      this.#refused = true; // a step that is not recorded can have what the recording would keep
    }
  }

  dispose(): void {
    this.#recording?.destroy();
    for (const batch of this.#inputs) for (const tensor of tensorsOf(batch)) tensor.dispose();
    this.#recording = null;
    this.#inputs = [];
    this.#shape = '';
  }
}
