/**
 * @file Training that survives the loss of its device: snapshots on the host now and then, and from the last one it goes on
 * on a new device, with the same losses as if nothing had happened. What a step is made of is `trainer.ts`.
 */
import type { Device } from '../device/device.js';
import { DeviceLostError } from '../device/device-lost.js';
import { LanguageModel } from '../model/language-model.js';
import { restoreSnapshot, takeSnapshot, type TrainerSnapshot } from './snapshot.js';
import { Trainer, type HostBatch, type StepResult, type TrainerOptions } from './trainer.js';

/** Devices that may be lost one after the other without a step between them. */
const MOST_LOSSES = 3;

export interface SteadyTrainerOptions {
  readonly trainer: TrainerOptions;
  /** Opens the device to go on with after a loss. */
  readonly openDevice: () => Promise<Device>;
  /** Steps between two snapshots: as many as may have to be made again. Default 50. */
  readonly snapshotEvery?: number;
  /** Told of a loss, and of the step with which training goes on. */
  readonly onLost?: (error: DeviceLostError, step: number) => void;
}

/** Batches and learning rate of a step, decided by its number alone: it may have to be made again. */
export interface StepPlan {
  readonly batches: (step: number) => readonly HostBatch[];
  readonly learningRate: (step: number) => number;
}

export class SteadyTrainer {
  readonly #options: SteadyTrainerOptions;
  #trainer: Trainer;
  #snapshot: TrainerSnapshot;
  #nextStep: number;
  /** What went wrong while a snapshot was read, other than a loss. */
  #failure: unknown = null;
  #losses = 0;

  private constructor(options: SteadyTrainerOptions, trainer: Trainer, snapshot: TrainerSnapshot) {
    this.#options = options;
    this.#trainer = trainer;
    this.#snapshot = snapshot;
    this.#nextStep = snapshot.step;
  }

  /**
   * Begins with a model, or goes on from a snapshot of it.
   * @throws RangeError when the snapshot does not fit the model.
   */
  static async start(
    model: LanguageModel,
    options: SteadyTrainerOptions,
    from: TrainerSnapshot | null = null,
  ): Promise<SteadyTrainer> {
    const trainer = new Trainer(model, options.trainer);
    if (from !== null) restoreSnapshot(trainer, from);
    return new SteadyTrainer(options, trainer, from ?? (await takeSnapshot(trainer, 0)));
  }

  /** Another one after a loss. */
  get trainer(): Trainer {
    return this.#trainer;
  }

  /** Another one after a loss. */
  get model(): LanguageModel {
    return this.#trainer.model;
  }

  /** Number of the step that `step` makes next; after a loss it goes back to that of the last snapshot. */
  get nextStep(): number {
    return this.#nextStep;
  }

  /** The last snapshot, which is there whatever happened to the device. */
  get snapshot(): TrainerSnapshot {
    return this.#snapshot;
  }

  /**
   * Makes the next step. Where the device is lost, it goes on on a new one from the last snapshot: `step` of the result, and
   * of those that follow, then have been there before.
   * @throws what `Trainer.step` throws; DeviceLostError when devices are lost again and again, or no new one opens.
   */
  async step({ batches, learningRate }: StepPlan): Promise<StepResult & { readonly step: number }> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure;
      const step = this.#nextStep;
      try {
        const result = await this.#trainer.step(batches(step), learningRate(step), step);
        this.#losses = 0;
        this.#nextStep = step + 1;
        if (this.#nextStep % (this.#options.snapshotEvery ?? 50) === 0) void this.refresh();
        return { ...result, step };
      } catch (error) {
        if (!(error instanceof DeviceLostError)) throw error;
        await this.goOn(error);
      }
    }
  }

  /**
   * Takes a snapshot now. Training need not wait for it; whoever wants to keep it awaits this. A loss meanwhile leaves the one
   * before.
   */
  async refresh(): Promise<TrainerSnapshot> {
    try {
      const snapshot = await takeSnapshot(this.#trainer, this.#nextStep);
      if (snapshot.step > this.#snapshot.step) this.#snapshot = snapshot;
    } catch (error) {
      if (!(error instanceof DeviceLostError)) this.#failure = error;
    }
    return this.#snapshot;
  }

  /**
   * Goes on on a new device from the last snapshot: what `step` does itself, for a loss that other work with the model ran
   * into, such as an evaluation between two steps.
   * @throws DeviceLostError as `step` does
   */
  async goOn(error: DeviceLostError): Promise<void> {
    if (++this.#losses > MOST_LOSSES) throw error;
    let device: Device;
    try {
      device = await this.#options.openDevice();
    } catch (cause) {
      const message = `${error.message}. No new one can be opened: ${(cause as Error).message}`;
      throw Object.assign(new DeviceLostError(message, error.reason), { cause });
    }
    const trainer = new Trainer(new LanguageModel(this.model.config, device), this.#options.trainer);
    restoreSnapshot(trainer, this.#snapshot);
    this.#trainer = trainer;
    this.#nextStep = this.#snapshot.step;
    this.#options.onLost?.(error, this.#nextStep);
  }

  /** Frees what training needs; `model` stays, and is the caller's. */
  dispose(): void {
    this.#trainer.dispose();
  }
}
