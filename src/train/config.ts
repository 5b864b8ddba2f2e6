/** @file The configuration of a training run: every field with its meaning and default. */
import * as z from 'zod';
import { deviceNames } from '../device/open.js';
import { checkConfig, ConfigError, suggestion } from '../model/check-config.js';
import { modelConfigSchema, writtenConfig } from '../model/config.js';
import { presetConfig, presetNames } from '../model/presets.js';

const count = () => z.number().int().min(1);
const whole = () => z.number().int().min(0);

const dataSchema = z.strictObject({
  files: z
    .array(z.string().min(1))
    .default([])
    .describe('Text to train on: .txt, .jsonl, .jsonl.zst files or folders of them.'),
  field: z.string().min(1).default('text').describe('Field of a .jsonl line that holds the text.'),
  tokenizer: z
    .string()
    .min(1)
    .default('bytes')
    .describe('"bytes", "chars", "bpe" (trained on the text), or the path of a tokenizer.json or its folder.'),
  vocabSize: count().default(4096).describe('Number of tokens of a BPE that is trained here.'),
  validationFraction: z.number().min(0).max(0.9).default(0.1).describe('Part of the text that is held out.'),
  splitBy: z
    .enum(['auto', 'tail', 'document'])
    .default('auto')
    .describe(
      'Hold out the last part of the text, or whole documents at random; auto: documents where there are at least 20.',
    ),
  order: z
    .enum(['shuffle', 'random', 'stream'])
    .default('shuffle')
    .describe('Windows in a shuffled order, at random offsets, or in text order (for stateful training).'),
});

const trainingSchema = z.strictObject({
  steps: count().default(1000).describe('Optimizer steps.'),
  batchSize: count().default(8).describe('Sequences per forward pass.'),
  contextLength: count().default(256).describe('Tokens per sequence.'),
  gradientAccumulation: count().default(1).describe('Forward passes whose gradients make one step.'),
  seed: whole().default(0).describe('Decides initial values, order of data, dropout and samples.'),
  stateful: z
    .boolean()
    .default(false)
    .describe('Carry the recurrent state from step to step (needs data.order stream).'),
  checkpointBlocks: z
    .boolean()
    .default(false)
    .describe('Recompute each block in the backward pass: less memory, about a third more time.'),
  activations: z
    .enum(['float32', 'bf16'])
    .default('float32')
    .describe('How activations are stored in training. With bf16 parameters, states and sums stay float32; cuda only.'),
  onNonFinite: z
    .enum(['halt', 'skip', 'dump'])
    .default('halt')
    .describe('When loss or gradient is not finite: stop, leave the step out, or stop and write what went bad first.'),
});

const optimizerSchema = z.strictObject({
  learningRate: z.number().positive().default(2e-3).describe('Peak learning rate.'),
  beta1: z.number().min(0).max(0.9999).default(0.9).describe('Decay of the first moment.'),
  beta2: z.number().min(0).max(0.99999).default(0.95).describe('Decay of the second moment.'),
  eps: z.number().positive().default(1e-8).describe('Added to the root of the second moment.'),
  weightDecay: z.number().min(0).default(0.1).describe('Decoupled weight decay, times the learning rate.'),
  decay: z.enum(['matrices', 'all']).default('matrices').describe('Parameters that decay: matrices, or all of them.'),
  gradientClip: z.number().positive().default(1).describe('Largest global norm of the gradient.'),
});

const scheduleSchema = z.strictObject({
  kind: z
    .enum(['cosine', 'linear', 'constant'])
    .default('cosine')
    .describe('Course of the learning rate after warm-up.'),
  warmupSteps: whole().default(50).describe('Steps of linear warm-up.'),
  finalRatio: z.number().min(0).max(1).default(0.1).describe('Learning rate of the last step over the peak.'),
});

const evaluationSchema = z.strictObject({
  everySteps: count().default(250).describe('Steps between evaluations on the held-out text.'),
  batches: whole()
    .default(32)
    .describe('Batches per evaluation; 0 for the whole held-out text. The last evaluation takes it all.'),
});

const checkpointSchema = z.strictObject({
  everySteps: count().default(250).describe('Steps between checkpoints.'),
  keepLast: count().default(2).describe('How many of the latest are kept; the best on held-out text stays besides.'),
});

const samplesSchema = z.strictObject({
  everySteps: whole().default(250).describe('Steps between samples of generated text; 0 for none.'),
  prompt: z.string().default('').describe('Text that a sample goes on from; empty for the start of a document.'),
  maxTokens: count().default(200).describe('Tokens per sample.'),
  temperature: z.number().min(0).default(0.8).describe('Sampling temperature.'),
  topP: z.number().min(0).max(1).default(0.95).describe('Nucleus sampling.'),
});

export const runConfigSchema = z.strictObject({
  name: z.string().default('').describe('Name of the run; empty: made of the date.'),
  out: z.string().min(1).default('runs').describe('Folder in which the run folder is made.'),
  preset: z
    .string()
    .default('')
    .describe('Model preset whose fields `model` then overrides; see `xlstm train --list-presets`.'),
  init: z
    .string()
    .default('')
    .describe('Model whose parameters the run starts from, with its configuration and tokenizer; empty: none.'),
  data: dataSchema.prefault({}).describe('What to train on.'),
  model: modelConfigSchema.prefault({}).describe('The model.'),
  training: trainingSchema.prefault({}).describe('The course of the training.'),
  optimizer: optimizerSchema.prefault({}).describe('AdamW.'),
  schedule: scheduleSchema.prefault({}).describe('Learning rate.'),
  evaluation: evaluationSchema.prefault({}).describe('Evaluation on held-out text.'),
  checkpoint: checkpointSchema.prefault({}).describe('Checkpoints.'),
  samples: samplesSchema.prefault({}).describe('Samples of generated text during training.'),
  log: z
    .strictObject({ everySteps: count().default(10).describe('Steps between lines where there is no terminal.') })
    .prefault({})
    .describe('Progress on the console; metrics.jsonl has every step.'),
  device: z
    .strictObject({
      name: z
        .enum(['auto', ...deviceNames])
        .default('auto')
        .describe('What computes.'),
      threads: whole().default(0).describe('Threads of the cpu device; 0: one per core. Results do not depend on it.'),
    })
    .prefault({})
    .describe('Where it runs.'),
});

export type RunConfig = z.output<typeof runConfigSchema>;
export type RunConfigInput = z.input<typeof runConfigSchema>;

/**
 * The checked configuration of a run, defaults filled in. The fields of its preset stand under those that were written.
 * @param what  where it comes from, for messages: "run.yaml"
 * @throws ConfigError naming each wrong field, or the preset nearest to one that does not exist.
 */
export function resolveRunConfig(input: unknown, what: string): RunConfig {
  const preset = fieldOf(input, 'preset');
  if (typeof preset !== 'string' || preset === '') return checkConfig(runConfigSchema, input, what);
  if (!presetNames.includes(preset.toLowerCase())) {
    throw new ConfigError(`${what}: preset: there is no "${preset}"${suggestion(preset, presetNames)}`);
  }
  const model = { ...presetConfig(preset), ...(fieldOf(input, 'model') as object | undefined) };
  return checkConfig(runConfigSchema, { ...(input as object), model }, what);
}

/** A configuration as it is written down: without the options of mixers that the model does not have. */
export const writtenRunConfig = (config: RunConfig): Record<string, unknown> => ({
  ...config,
  model: writtenConfig(config.model),
});

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
