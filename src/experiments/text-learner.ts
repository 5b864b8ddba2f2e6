/**
 * @file A language model on a corpus as the learner of a comparison: trained as `xlstm train` does, measured by perplexity
 * on held-out text, at several context lengths where asked.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as z from 'zod';
import type { Device } from '../device/device.js';
import { checkConfig } from '../model/check-config.js';
import { LanguageModel } from '../model/language-model.js';
import { fold, randomKey } from '../tensor/random.js';
import { resolveRunConfig, type RunConfig } from '../train/config.js';
import { evaluate } from '../train/evaluate.js';
import type { RunData } from '../train/run-data.js';
import { Trainer, type HostBatch } from '../train/trainer.js';
import { lossByFrequency } from './frequency.js';
import type { Learner } from './learner.js';
import type { RunSpec } from './run-spec.js';
import { sharedRunData } from './shared-text.js';

/** The task's name in a specification. */
export const TEXT_TASK = 'text';

export const textOptionsSchema = z.strictObject({
  files: z.array(z.string().min(1)).min(1).describe('Text: .txt, .jsonl, .jsonl.zst files or folders of them.'),
  field: z.string().min(1).default('text').describe('Field of a .jsonl line that holds the text.'),
  tokenizer: z
    .string()
    .min(1)
    .default('bytes')
    .describe('"bytes", "chars", "bpe" (trained on the text), or the path of a tokenizer.json or its folder.'),
  vocabSize: z.number().int().min(1).default(1024).describe('Number of tokens of a BPE that is trained here.'),
  validationFraction: z.number().positive().max(0.9).default(0.1).describe('Part of the text that is held out.'),
  contextLength: z.number().int().min(2).default(256).describe('Tokens per sequence in training.'),
  lengths: z
    .array(z.number().int().min(2))
    .default([])
    .describe('Context lengths at which the held-out text is measured after training, in windows side by side.'),
  frequencies: z
    .array(z.number().int().min(1))
    .default([])
    .describe('Ends of ranges of how often a token stands in the training text; held-out text is measured by them.'),
  evaluationTokens: z
    .number()
    .int()
    .min(1)
    .default(65536)
    .describe('Tokens of held-out text per measurement, at the most.'),
});

/**
 * Reads and tokenises the text and makes the model. The tokens lie in `shared`, for other runs too, or in a
 * temporary folder until `dispose`.
 * @throws ConfigError for wrong options; Error naming the file at fault.
 */
export async function createTextLearner(spec: RunSpec, device: Device, shared?: string): Promise<Learner> {
  const options = checkConfig(textOptionsSchema, spec.task.options, spec.task.label);
  const config = runConfigOf(spec, options);
  const folder = shared ?? fs.mkdtempSync(path.join(os.tmpdir(), 'xlstm-compare-'));
  const cleanUp = () => shared === undefined && fs.rmSync(folder, { recursive: true, force: true });
  let data: RunData | null = null;
  try {
    data = await sharedRunData(config, folder);
    const model = LanguageModel.create({ ...config.model, vocabSize: data.tokenizer.vocabSize }, device, spec.seed);
    return textLearner(spec, options, data, model, cleanUp);
  } catch (error) {
    data?.close();
    cleanUp();
    throw error;
  }
}

type TextOptions = z.output<typeof textOptionsSchema>;

function runConfigOf({ model, training, seed }: RunSpec, options: TextOptions): RunConfig {
  const { files, field, tokenizer, vocabSize, validationFraction, contextLength } = options;
  const data = { files, field, tokenizer, vocabSize, validationFraction };
  const { steps, batchSize } = training;
  return resolveRunConfig({ data, model, training: { steps, batchSize, contextLength, seed } }, 'run');
}

function textLearner(
  { training, seed }: RunSpec,
  { contextLength, lengths, frequencies, evaluationTokens }: TextOptions,
  data: RunData,
  model: LanguageModel,
  cleanUp: () => unknown,
): Learner {
  const { gradientClip, beta1, beta2, eps, weightDecay, batchSize } = training;
  const trainer = new Trainer(model, {
    optimizer: { beta1, beta2, eps, weightDecay, decay: 'matrices' },
    gradientClip,
    checkpointBlocks: false,
    stateful: false,
    key: fold(randomKey(seed), 'dropout'),
  });
  const heldOut = (T: number): Iterable<HostBatch> => {
    const B = Math.max(1, Math.floor((batchSize * contextLength) / T));
    const batches = data.validationBatches(Math.ceil(evaluationTokens / (B * T)), { B, T });
    if (batches === null) throw new RangeError('text: there is no held-out text; set validationFraction');
    return batches;
  };
  const measure = async (T: number, signal?: AbortSignal): Promise<Record<string, number>> => {
    const { loss, targets } = await evaluate(model, heldOut(T), signal);
    signal?.throwIfAborted();
    return { loss, perplexity: Math.exp(loss), bitsPerByte: data.bitsPerByte('validation', loss), targets };
  };
  return {
    parameters: model.parameterCount,
    stateFloats: model.stateSize,
    flopsPerToken: model.backbone.flopsPerToken(contextLength) + 2 * model.config.dim * model.config.vocabSize,
    async step(index, learningRate) {
      const { loss, tokens, skipped } = await trainer.step([data.batchAt(index)], learningRate, index);
      return { loss: skipped ? NaN : loss, tokens };
    },
    validate: (signal) => measure(contextLength, signal),
    async test(signal) {
      const found: Record<string, number> = {};
      for (const T of lengths) {
        const { loss, perplexity } = (await measure(T, signal)) as { loss: number; perplexity: number };
        Object.assign(found, { [`length ${T}/loss`]: loss, [`length ${T}/perplexity`]: perplexity });
      }
      if (frequencies.length > 0)
        Object.assign(
          found,
          await lossByFrequency(model, heldOut(contextLength), data.trainCounts(), frequencies, signal),
        );
      return found;
    },
    dispose() {
      trainer.dispose();
      model.dispose();
      data.close();
      cleanUp();
    },
  };
}
