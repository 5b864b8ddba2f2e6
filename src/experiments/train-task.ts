/**
 * @file One run of a comparison from its specification to its result: makes the learner, trains it along its schedule,
 * measures it on the way and at the end. It writes nothing to disk; `runner.ts` does.
 */
import { giveWay } from '../event-loop.js';
import { openProven } from '../device/open-proven.js';
import { kernelsOf } from '../model/kernels-of.js';
import { learningRateAt } from '../train/schedule.js';
import type { Learner } from './learner.js';
import type { CurvePoint, RunResult, RunSpec, TrainHooks } from './run-spec.js';
import { createSequenceLearner, kernelsOfSequence } from './sequence-learner.js';
import { createTextLearner, TEXT_TASK } from './text-learner.js';

/** Points of the training curve, besides those with a validation. */
const CURVE_POINTS = 200;

/**
 * Carries out one run.
 * @throws Error saying what went wrong: a configuration that does not fit, a loss that is not finite, no memory; the reason
 *   of the signal where that asked to stop.
 */
export async function trainTask(spec: RunSpec, hooks: TrainHooks = {}): Promise<RunResult> {
  const { name, threads } = spec.device;
  const needs = () =>
    spec.task.name === TEXT_TASK ? kernelsOf(spec.model, { training: true }) : kernelsOfSequence(spec);
  const device = await openProven(name, { ...(threads === 0 ? {} : { threads }), needs });
  const learner =
    spec.task.name === TEXT_TASK
      ? await createTextLearner(spec, device, hooks.shared)
      : createSequenceLearner(spec, device);
  try {
    return await train(learner, spec, hooks);
  } finally {
    learner.dispose();
  }
}

async function train(learner: Learner, { training }: RunSpec, hooks: TrainHooks): Promise<RunResult> {
  const { steps, learningRate, evalEvery } = training;
  const { signal, onProgress } = hooks;
  const started = performance.now();
  const curve: CurvePoint[] = [];
  const last: number[] = [];
  let [tokens, trainingSeconds] = [0, 0];
  let validation: Record<string, number> = {};
  for (let index = 0; index < steps; index++) {
    signal?.throwIfAborted();
    const before = performance.now();
    const rate = learningRateAt({ ...training, kind: training.schedule }, learningRate, index, steps);
    const { loss, tokens: read } = await learner.step(index, rate);
    trainingSeconds += (performance.now() - before) / 1000;
    tokens += read;
    const step = index + 1;
    checkFinite(loss, step, learningRate);
    if (step > steps - Math.max(1, Math.floor(steps / 10))) last.push(loss);
    const isValidated = step % evalEvery === 0 || step === steps;
    if (isValidated) validation = await learner.validate(signal);
    if (isValidated || step === 1 || step % Math.ceil(steps / CURVE_POINTS) === 0) {
      curve.push({ step, loss, ...(isValidated && { validation }) });
    }
    onProgress?.({ step, steps, loss, tokensPerSecond: tokens / trainingSeconds });
    await giveWay();
  }
  const tests = await learner.test(signal);
  const validated = Object.entries(validation).map(([measure, value]) => [`validation/${measure}`, value]);
  return {
    status: 'done',
    parameters: learner.parameters,
    stateBytes: 4 * learner.stateFloats,
    flopsPerToken: learner.flopsPerToken,
    seconds: (performance.now() - started) / 1000,
    tokensPerSecond: tokens / trainingSeconds,
    steps,
    finalTrainLoss: last.reduce((sum, loss) => sum + loss, 0) / last.length,
    metrics: { ...(Object.fromEntries(validated) as Record<string, number>), ...tests },
    curve,
  };
}

function checkFinite(loss: number, step: number, learningRate: number): void {
  if (Number.isFinite(loss)) return;
  throw new Error(
    `the loss or its gradient was not finite (${loss}) at step ${step} with a peak learning rate of ${learningRate}; ` +
      'the model has diverged: a smaller learning rate or longer warm-up may help',
  );
}
