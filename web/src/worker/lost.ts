/**
 * @file What happens when the GPU is lost, as when its driver is reset: the worker goes on on a new one, with the model as
 * training has it, or as it was kept. A step that is lost in training is the matter of `training.ts`.
 */
import { DeviceLostError, TrainingLostError, type Device } from 'xlstm';
import type { Context, Handlers } from './context.js';
import { NoGpuError, reopenGpu } from './device.js';
import { openKept } from './models.js';
import type { Training } from './training.js';

export const lostHandlers: Handlers<'reopen'> = {
  async reopen(_, context) {
    if (context.isWithoutGpu)
      await recover(context, context.device, new DeviceLostError('The GPU was lost.', 'unknown'));
    return null;
  },
};

/** Recovers as soon as the device is lost, whatever is asked for then. */
export function watch(context: Context, device: Device): void {
  const { gpuDevice } = device as Device & { readonly gpuDevice?: GPUDevice };
  void gpuDevice?.lost.then(({ message, reason }) =>
    recover(context, device, new DeviceLostError(message, reason)).catch((error: Error) =>
      context.emit({ kind: 'fault', message: error.message }),
    ),
  );
}

/**
 * Opens another device in place of one that was lost, with the model; does nothing where that was done, or training does it.
 * @throws NoGpuError when none opens
 */
export async function recover(context: Context, lost: Device, error: DeviceLostError): Promise<void> {
  if (context.device !== lost || context.phase === 'training') return;
  context.recovery ??= reopen(context, lost, error).finally(() => {
    context.recovery = null;
  });
  await context.recovery;
}

async function reopen(context: Context, lost: Device, error: DeviceLostError): Promise<void> {
  try {
    await replace(context, lost, error);
  } catch (failure) {
    throw standStill(context, failure);
  }
}

async function replace(context: Context, lost: Device, error: DeviceLostError): Promise<void> {
  const { training, held, store, emit } = context;
  if (training !== null) {
    await context.turns.take(async () => {
      if (context.device === lost) await training.goOn(error);
    });
    return;
  }
  setDevice(context, await reopenGpu());
  if (held === null) return;
  context.held = null;
  const isKept = store.session !== null;
  if (isKept) await openKept(context);
  const isOpen = (context.held as unknown) !== null;
  if (!isOpen) {
    emit({ kind: 'history', rows: [] });
    context.tellStatus('idle');
  }
  emit({
    kind: 'fault',
    message: isOpen
      ? 'The GPU was lost, as when its driver is reset. It is open again, with the model as it was kept.'
      : 'The GPU was lost, as when its driver is reset, and with it the model, of which nothing was kept. The GPU is open again: open the model again under Models, or train a new one.',
  });
}

/** The worker goes on with the model and the device of a training that went on after a loss. */
export function takeOver(context: Context, training: Training): void {
  const { model, step, status, rows } = training;
  setDevice(context, model.device);
  context.held = { ...context.held!, model };
  const isTraining = context.phase === 'training';
  context.emit({ kind: 'history', rows });
  context.tellStatus(isTraining ? 'training' : step < status.settings.steps ? 'stopped' : 'finished');
  const where = isTraining ? `Training goes on with step ${step + 1}` : `Training stands at step ${step}`;
  context.emit({
    kind: 'fault',
    message: `The GPU was lost, as when its driver is reset. It is open again. ${where}, from the last copy in memory.`,
  });
}

/**
 * After a loss that nothing goes on after: the page is told of where the training stands, and whether there is still a GPU.
 * @returns what went wrong, in a sentence
 */
export function standStill(context: Context, failure: unknown): unknown {
  const noGpu = [failure, (failure as Error).cause].find((error) => error instanceof NoGpuError);
  if (noGpu === undefined && !(failure instanceof TrainingLostError)) return failure;
  const { training } = context;
  if (training !== null) {
    context.emit({ kind: 'history', rows: training.rows });
    context.tellStatus();
  }
  if (noGpu !== undefined) {
    setWithoutGpu(context, noGpu.message);
    return noGpu;
  }
  const { step } = failure as TrainingLostError;
  return new Error(
    `The GPU was lost again and again at step ${step + 1}, so training ended. The model is as it was after step ${training!.step}: ` +
      'save it under Models, or go on with a smaller batch, context or width.',
    { cause: failure },
  );
}

/** @param problem  why there is no GPU, in a sentence; null where there is one again */
function setWithoutGpu(context: Context, problem: string | null): void {
  context.isWithoutGpu = problem !== null;
  context.emit({ kind: 'gpu', problem });
}

/** The device to compute on from now on. */
export function setDevice(context: Context, device: Device): void {
  context.device = device;
  if (context.isWithoutGpu) setWithoutGpu(context, null);
  watch(context, device);
}
