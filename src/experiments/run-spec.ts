/**
 * @file One run of a comparison, fully resolved, and what came out of it: plain JSON that goes to a worker process and
 * into the run's folder. How a compare.yaml becomes many of these is in `plan.ts`; who carries one out, `train-task.ts`.
 */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { deviceNames } from '../device/open.js';
import type { ModelConfigInput } from '../model/config.js';

const count = () => z.number().int().min(1);
const whole = () => z.number().int().min(0);
/** What a measurement may be: a perplexity may have no bound. */
const measured = () => z.custom<number>((value) => typeof value === 'number', 'must be a number');

const trainingSpecSchema = z.strictObject({
  steps: count().describe('Optimizer steps.'),
  batchSize: count().describe('Sequences per step.'),
  learningRate: z.number().positive().describe('Peak learning rate.'),
  schedule: z.enum(['cosine', 'linear', 'constant']).describe('Course of the learning rate after warm-up.'),
  warmupSteps: whole().describe('Steps of linear warm-up.'),
  finalRatio: z.number().min(0).max(1).describe('Learning rate of the last step over the peak.'),
  beta1: z.number().min(0).max(0.9999).describe('Decay of the first moment of AdamW.'),
  beta2: z.number().min(0).max(0.99999).describe('Decay of the second moment of AdamW.'),
  eps: z.number().positive().describe('Added to the root of the second moment.'),
  weightDecay: z.number().min(0).describe('Decoupled weight decay, times the learning rate; on matrices alone.'),
  gradientClip: z.number().positive().describe('Largest global norm of the gradient.'),
  evalEvery: count().describe('Steps between evaluations on the validation set; the last step is always evaluated.'),
});

export const runSpecSchema = z.strictObject({
  name: z.string().min(1).describe('Name of the run and of its folder.'),
  task: z
    .strictObject({
      name: z.string().min(1).describe('Task by its name in the registry, or "text" for a language model.'),
      label: z.string().min(1).describe('How tables and figures call it.'),
      options: z.record(z.string(), z.unknown()).describe('All options of the task, its preset resolved.'),
    })
    .describe('What is learned.'),
  label: z.string().min(1).describe('How tables and figures call the model: "xLSTM[1:1]".'),
  mixers: z.array(z.string().min(1)).min(1).describe('The different mixers of the model, for --only.'),
  mixerFiles: z
    .array(z.strictObject({ file: z.string().min(1), sha256: z.string().length(64) }))
    .describe('Files of mixers that are not of this package, and the hashes of their content.'),
  size: z.string().min(1).describe('How tables and figures call the size: "D64x2".'),
  model: z
    .record(z.string(), z.unknown())
    .transform((model) => model as ModelConfigInput)
    .describe('Configuration of the model; width of the vocabulary and of the output come from the task.'),
  training: trainingSpecSchema.describe('Optimizer and schedule.'),
  seed: whole().describe('Decides initial values, dropout and the order of data; the task has a seed of its own.'),
  device: z
    .strictObject({
      name: z.enum(['auto', ...deviceNames]).describe('What computes.'),
      threads: whole().describe('Threads of the cpu device; 0: one per core. Results do not depend on it.'),
    })
    .describe('Where it runs.'),
});

/** One run, fully resolved. */
export type RunSpec = z.output<typeof runSpecSchema>;

const pointSchema = z.strictObject({
  step: whole().describe('Optimizer steps done.'),
  loss: measured().nullable().describe('Loss of that training batch; null where it was not finite.'),
  validation: z
    .record(z.string(), measured())
    .optional()
    .describe('Measures on the validation set: "loss", "accuracy".'),
});

export const runResultSchema = z.strictObject({
  status: z.enum(['done', 'failed']),
  reason: z.string().optional().describe('A sentence that says why it failed; only then.'),
  parameters: whole().describe('Parameters of the model.'),
  stateBytes: whole().describe("Bytes of the state of one sequence at the task's longest example, float32."),
  flopsPerToken: z
    .number()
    .min(0)
    .describe("Of a forward pass over the task's longest example; a multiply-add counts as two."),
  seconds: z.number().min(0).describe('Time of training and evaluation.'),
  tokensPerSecond: z.number().min(0).describe('Tokens trained on per second of training, evaluation not counted.'),
  steps: whole().describe('Optimizer steps done.'),
  finalTrainLoss: measured().nullable().describe('Mean training loss over the last tenth of the steps.'),
  metrics: z
    .record(z.string(), measured())
    .describe('By "<set>/<measure>": "validation/loss", "test 40-256/scaledAccuracy", "length 64/accuracy".'),
  curve: z.array(pointSchema).describe('The course of the training, at most some hundred points.'),
});

/** What came out of a run. */
export type RunResult = z.output<typeof runResultSchema>;
export type CurvePoint = z.output<typeof pointSchema>;

/** Where a run stands, told now and then. */
export interface TaskProgress {
  readonly step: number;
  readonly steps: number;
  /** Training loss of the last step. */
  readonly loss: number;
  readonly tokensPerSecond: number;
}

export interface TrainHooks {
  /** Asks to stop; the promise then rejects with the signal's reason, and nothing of the run is kept. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TaskProgress) => void;
  /** Folder for what runs of one comparison share, such as the tokens of a text. */
  readonly shared?: string;
}

/** Carries out one run: builds the model, trains, evaluates. Rejects when the run cannot be carried out. */
export type TrainTask = (spec: RunSpec, hooks: TrainHooks) => Promise<RunResult>;

/** A result of a run that broke. @param reason  one sentence */
export const failedResult = (reason: string, known: Partial<RunResult> = {}): RunResult => ({
  parameters: 0,
  stateBytes: 0,
  flopsPerToken: 0,
  seconds: 0,
  tokensPerSecond: 0,
  steps: 0,
  finalTrainLoss: null,
  metrics: {},
  curve: [],
  ...known,
  status: 'failed',
  reason,
});

/**
 * What decides the result of a run, as 10 hexadecimal digits: everything but its name, how things are called in tables,
 * where mixer files lie, and the number of threads.
 */
export function specHash(spec: Omit<RunSpec, 'name'>): string {
  const { task, mixerFiles, model, training, seed, device } = spec;
  const decisive = {
    task: [task.name, task.options],
    mixerFiles: mixerFiles.map(({ sha256 }) => sha256),
    model,
    training,
    seed,
    device: device.name,
  };
  return createHash('sha256').update(canonical(decisive)).digest('hex').slice(0, 10);
}

/** JSON whose objects have their fields in order, so that equal values have equal texts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
