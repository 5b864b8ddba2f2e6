/** @file Puts another model in the place of the one that the worker holds. */
import type { Context, Held } from './context.js';
import type { Training } from './training.js';

/** Stops what uses the model before, frees it, and holds the new one. */
export async function hold(context: Context, held: Held | null, training: Training | null): Promise<void> {
  await halt(context);
  context.training?.dispose();
  context.held?.model.dispose();
  context.held = held;
  context.training = training;
}

/** Ends training and generation, and waits until they have ended. */
export async function halt(context: Context): Promise<void> {
  context.stopTraining?.abort();
  context.stopGenerating?.abort();
  await Promise.all([context.running, context.generating]);
  await context.turns.take(async () => {});
}
