/**
 * @file Training that survives the loss of its device: snapshots on the host now and then, and from the last one it goes on
 * on a new device, with the same losses as if nothing had happened. What a step is made of is `trainer.ts`.
 */
import type { Device } from '../device/device.js';
import { DeviceLostError } from '../device/device-lost.js';
import { LanguageModel } from '../model/language-model.js';
import { restoreSnapshot, takeSnapshot, type TrainerSnapshot } from './snapshot.js';
import { Trainer, type HostBatch, type StepResult, type TrainerOptions } from './trainer.js';

/** Losses after which training gives up, where none of the steps between them was a new one. */
const MOST_LOSSES = 3;

/**
 * Training cannot go on: a step is lost with its device again and again (the cause is the last DeviceLostError), or no new
 * device opens (the cause is the error of `openDevice`). The last snapshot is still there, and `step` may be tried again.
 */
export class TrainingLostError extends Error {
  override readonly name = 'TrainingLostError';
  /** Number of the step that could not be made. */
  readonly step: number;

  constructor(message: string, step: number, cause: unknown) {
    super(message, { cause });
    this.step = step;
  }
}

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
  /** Losses since the last step that had not been made before. */
  #losses = 0;
  /** Number of the first step that was never made. */
  #newStep: number;

  private constructor(options: SteadyTrainerOptions, trainer: Trainer, snapshot: TrainerSnapshot) {
    this.#options = options;
    this.#trainer = trainer;
    this.#snapshot = snapshot;
    this.#nextStep = snapshot.step;
    this.#newStep = snapshot.step;
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
   * @throws what `Trainer.step` throws; TrainingLostError at the third loss without a new step, or when no new device opens.
   */
  async step({ batches, learningRate }: StepPlan): Promise<StepResult & { readonly step: number }> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure;
      const step = this.#nextStep;
      try {
        const result = await this.#trainer.step(batches(step), learningRate(step), step);
        this.#nextStep = step + 1;
        if (this.#nextStep > this.#newStep) {
          this.#newStep = this.#nextStep;
          this.#losses = 0;
        }
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
   * @throws TrainingLostError as `step` does
   */
  async goOn(error: DeviceLostError): Promise<void> {
    this.#nextStep = this.#snapshot.step;
    if (++this.#losses >= MOST_LOSSES) throw this.#lostAgain(error);
    let device: Device;
    try {
      device = await this.#options.openDevice();
    } catch (cause) {
      this.#losses = 0;
      throw new TrainingLostError(
        `${error.message}. No new one can be opened: ${(cause as Error).message}`,
        this.#newStep,
        cause,
      );
    }
    const trainer = new Trainer(new LanguageModel(this.model.config, device), this.#options.trainer);
    restoreSnapshot(trainer, this.#snapshot);
    this.#trainer = trainer;
    this.#options.onLost?.(error, this.#nextStep);
  }

  #lostAgain(error: DeviceLostError): TrainingLostError {
    const losses = this.#losses;
    this.#losses = 0; // whoever tries again has as many tries, as behind a device that did not open
    const [step, from] = [this.#newStep, this.#snapshot.step];
    return new TrainingLostError(
      `training: the device was lost ${losses} times at step ${step}, the last time with "${error.message}". The snapshot of step ` +
        `${from} is still there: save it, and go on with smaller batches or sequences, a smaller model, or on another device.`,
      step,
      error,
    );
  }

  /** Frees what training needs; `model` stays, and is the caller's. */
  dispose(): void {
    this.#trainer.dispose();
  }
}
