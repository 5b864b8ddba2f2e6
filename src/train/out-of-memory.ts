/** @file What to say when a training step does not fit in memory: what holds how much, and which settings need less. */
import { bytesOf } from '../device/device.js';
import { OutOfMemoryError } from '../device/out-of-memory.js';
import { formatBytes } from '../format.js';
import type { RunConfig } from './config.js';
import type { Trainer } from './trainer.js';

/** Settings that are proposed at the most. */
const MOST_ADVICE = 2;

/**
 * @param error   what step number `step` threw
 * @param before  bytes that the device held before the step
 * @returns an error with the device's sentence, what is held and what to set, or `error` itself for anything else
 */
export function explainOutOfMemory(
  error: unknown,
  trainer: Trainer,
  { training }: RunConfig,
  step: number,
  before: number,
): unknown {
  if (!(error instanceof OutOfMemoryError)) return error;
  const held = holdings(trainer, before, error.held).map(([what, bytes]) => `${what} ${formatBytes(bytes)}`);
  const message = `step ${step}: ${error.message}. Held: ${held.join(', ')}. ${advice(trainer, training)}`;
  return new OutOfMemoryError(message, { cause: error });
}

type Holding = readonly [what: string, bytes: number];

/** What lies on the device, as far as it is known, without what holds nothing. */
function holdings({ model, optimizer, options }: Trainer, before: number, held: number | undefined): Holding[] {
  const { device, parameters } = model;
  const hasCopy = options.activations === 'bf16';
  const lasting: Holding[] = [
    [
      `parameters${hasCopy ? ' (with their bf16 copy)' : ''}`,
      bytesOf(device, parameters.values) + (hasCopy ? 2 * parameters.length : 0),
    ],
    ['gradients', bytesOf(device, parameters.gradients)],
    ['moments of AdamW', bytesOf(device, optimizer.m) + bytesOf(device, optimizer.v)],
  ];
  const others = before - lasting.reduce((total, [, bytes]) => total + bytes, 0);
  const activations = held === undefined ? 0 : held - before;
  const all: Holding[] = [...lasting, ['activations of the step so far', activations], ['states and others', others]];
  return all.filter(([, bytes]) => bytes > 0);
}

/** The first settings that need less memory and are not taken yet. */
function advice({ model }: Trainer, training: RunConfig['training']): string {
  const { batchSize, gradientAccumulation, contextLength, checkpointBlocks, activations } = training;
  const half = Math.floor(batchSize / 2);
  const sameStep = ` with training.gradientAccumulation=${2 * gradientAccumulation}, for the same step`;
  const settings = [
    ...(half > 0 ? [`training.batchSize=${half}${batchSize % 2 === 0 ? sameStep : ''}`] : []),
    ...(checkpointBlocks ? [] : ['training.checkpointBlocks=true']),
    ...(activations !== 'bf16' && model.backbone.takesBf16(model.device) ? ['training.activations=bf16'] : []),
    ...(contextLength > 1 ? [`training.contextLength=${Math.floor(contextLength / 2)}`] : []),
    'a smaller model.dim',
  ];
  return `To need less: ${settings.slice(0, MOST_ADVICE).join('; or ')}`;
}
