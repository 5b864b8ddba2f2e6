/**
 * @file compare.yaml: every field with its meaning and default. What it comes to, run by run, is in `plan.ts`.
 */
import path from 'node:path';
import * as z from 'zod';
import { deviceNames } from '../device/open.js';
import { findMixer } from '../mixers/registry.js';
import { ARCHITECTURES } from '../model/architectures.js';
import { checkConfig } from '../model/check-config.js';

const count = () => z.number().int().min(1);
const whole = () => z.number().int().min(0);
const rates = () => z.array(z.number().positive()).min(1);
const tree = () => z.record(z.string(), z.unknown());

/** Fields of the training that tasks, sizes and models may set for themselves, without defaults. */
const trainingFields = {
  steps: count().optional().describe('Optimizer steps. Default 1000.'),
  batchSize: count().optional().describe('Sequences per step. Default 32.'),
  schedule: z
    .enum(['cosine', 'linear', 'constant'])
    .optional()
    .describe('Course of the learning rate after warm-up. Default cosine.'),
  warmupSteps: whole().optional().describe('Steps of linear warm-up; overrides warmupFraction.'),
  warmupFraction: z.number().min(0).max(1).optional().describe('Warm-up as a part of the steps. Default 0.1.'),
  finalRatio: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('Learning rate of the last step over the peak. Default 0.1.'),
  finalLearningRate: z
    .number()
    .min(0)
    .optional()
    .describe('Learning rate of the last step as such; overrides finalRatio.'),
  beta1: z.number().min(0).max(0.9999).optional().describe('Decay of the first moment of AdamW. Default 0.9.'),
  beta2: z.number().min(0).max(0.99999).optional().describe('Decay of the second moment of AdamW. Default 0.99.'),
  eps: z.number().positive().optional().describe('Added to the root of the second moment. Default 1e-8.'),
  weightDecay: z
    .number()
    .min(0)
    .optional()
    .describe('Decoupled weight decay of matrices, times the learning rate. Default 0.1.'),
  gradientClip: z.number().positive().optional().describe('Largest global norm of the gradient. Default 1.'),
  evaluations: count().optional().describe('Evaluations on the validation set during training. Default 10.'),
};

const trainingSchema = () => z.strictObject(trainingFields).prefault({});
const learningRates = (whose: string) =>
  rates().optional().describe(`Peak learning rates of this ${whose}; overrides the list for all.`);

const taskSchema = z.strictObject({
  name: z.string().min(1).describe('Task by its name, or "text" for a language model; see `xlstm compare --tasks`.'),
  preset: z.string().min(1).optional().describe('Named settings of the task: "paper", "small".'),
  label: z.string().min(1).optional().describe('How tables and figures call it. Default: the name.'),
  options: tree().default({}).describe('Options of the task, over those of the preset.'),
  training: trainingSchema().describe('Training on this task, where it differs.'),
  learningRates: learningRates('task'),
  model: tree().default({}).describe('Fields of the model on this task, where they differ.'),
});

const modelSchema = z.strictObject({
  label: z.string().min(1).optional().describe('How tables and figures call it. Default: its mixer or pattern.'),
  architecture: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A published architecture, such as llama: its mixers with the norms, feed-forward layer and initial values around them.',
    ),
  mixer: z
    .string()
    .min(1)
    .optional()
    .describe('The mixer of all blocks, in the frame that model says; or a ratio such as "xlstm[1:1]".'),
  pattern: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Mixers of the blocks, repeated over the depth of the size.'),
  mixerFile: z
    .string()
    .min(1)
    .optional()
    .describe('A file whose default export is a mixer of your own; its name may stand in mixer or pattern.'),
  depth: z
    .number()
    .positive()
    .default(1)
    .describe('Blocks per block of the size: 2 for blocks that have no feed-forward layer behind the mixer.'),
  model: tree().default({}).describe('Fields of the model configuration, such as mlstm: {convKernel: 2}.'),
  training: trainingSchema().describe('Training of this model, where it differs.'),
  learningRates: learningRates('model'),
});

const sizeSchema = z.strictObject({
  label: z.string().min(1).optional().describe('How tables and figures call it. Default: "D64x2".'),
  dim: count().describe('Width of the model.'),
  blocks: count().default(2).describe('Number of blocks.'),
  heads: count().optional().describe('Heads of every mixer that has heads and no number of its own.'),
  model: tree().default({}).describe('Fields of the model at this size, where they differ.'),
  training: trainingSchema().describe('Training at this size, where it differs.'),
});

const matchSchema = z.strictObject({
  target: z
    .union([z.literal('first'), count()], { error: 'must be "first" or a number of parameters' })
    .default('first')
    .describe('Number of parameters, or "first": as many as the first model of the list has at this size.'),
  tolerance: z.number().min(0).max(1).default(0.05).describe('Largest difference from the target, as a part of it.'),
  step: count().default(8).describe('Widths that are tried are multiples of it.'),
});

export const compareSchema = z.strictObject({
  name: z.string().default('').describe('Name of the comparison; empty: of the file.'),
  title: z.string().default('').describe('Title of the report; empty: the name.'),
  out: z.string().default('').describe('Folder for runs, table and report; empty: runs/<name>.'),
  tasks: z.array(taskSchema).min(1).describe('What is learned.'),
  models: z.array(modelSchema).min(1).describe('What is compared.'),
  sizes: z
    .array(sizeSchema)
    .min(1)
    .default([sizeSchema.parse({ dim: 64 })])
    .describe('Width and depth.'),
  learningRates: rates().default([1e-3]).describe('Peak learning rates; each model is run at each.'),
  seeds: z.array(whole()).min(1).default([0]).describe('Seeds; each model is run with each.'),
  model: tree().default({}).describe('Fields of the model configuration of all models.'),
  training: trainingSchema().describe('Training of all models; tasks, sizes and models may differ, in this order.'),
  matchParameters: matchSchema
    .optional()
    .describe('Widen or narrow each model until it has as many parameters as the target.'),
  jobs: count().default(1).describe('Runs at the same time.'),
  device: z
    .strictObject({
      name: z
        .enum(['auto', ...deviceNames])
        .default('auto')
        .describe('What computes.'),
      threads: whole().default(0).describe('Threads of each run; 0: the cores divided by the jobs.'),
    })
    .prefault({})
    .describe('Where it runs.'),
});

export type CompareConfig = z.output<typeof compareSchema>;
export type CompareTask = CompareConfig['tasks'][number];
export type CompareModel = CompareConfig['models'][number];
export type CompareSize = CompareConfig['sizes'][number];
export type TrainingFields = CompareConfig['training'];

/**
 * The checked comparison, defaults filled in. A task may be given by its name alone, a model by that of its architecture or
 * mixer.
 * @param file  the file it was read from: the comparison is named after it
 * @throws ConfigError naming each wrong field.
 */
export function resolveCompareConfig(input: unknown, file: string): CompareConfig {
  const config = checkConfig(compareSchema, expandNames(input), file);
  const name = config.name === '' ? path.basename(file).replace(/\.ya?ml$|\.json$/i, '') : config.name;
  return {
    ...config,
    name,
    title: config.title === '' ? name : config.title,
    out: config.out === '' ? path.join('runs', name) : config.out,
  };
}

function expandNames(input: unknown): unknown {
  if (typeof input !== 'object' || input === null) return input;
  const expand = (list: unknown, object: (name: string) => object): unknown =>
    Array.isArray(list) ? list.map((item: unknown) => (typeof item === 'string' ? object(item) : item)) : list;
  const { tasks, models } = input as Record<string, unknown>;
  return {
    ...input,
    ...(tasks === undefined ? {} : { tasks: expand(tasks, (name) => ({ name })) }),
    ...(models === undefined ? {} : { models: expand(models, (name) => ({ [kindOf(name)]: name })) }),
  };
}

const kindOf = (name: string): 'architecture' | 'mixer' =>
  findMixer(name) !== undefined && !(name in ARCHITECTURES) ? 'mixer' : 'architecture';
