/** @file The configuration of a language model: every field with its meaning and default. Presets are in `presets.ts`. */
import * as z from 'zod';
import type { MixerDefinition } from '../mixers/definition.js';
import { findMixer, isCustomMixer, mixerNames, MIXERS, type MixerName } from '../mixers/registry.js';
import { checkConfig } from './check-config.js';

const count = () => z.number().int().min(1);

/** The options of every mixer of the library under its name. */
const mixerFields = Object.fromEntries(
  Object.entries<MixerDefinition>(MIXERS).map(([name, { options, summary }]) => [
    name,
    options.prefault({}).describe(`Options of ${name} blocks: ${summary}.`),
  ]),
) as { [Name in MixerName]: z.ZodPrefault<(typeof MIXERS)[Name]['options']> };

/** One of the mixers that are known when a configuration is read. */
const mixerName = z.string().superRefine((name, context) => {
  if (findMixer(name) === undefined) {
    context.addIssue({ code: 'invalid_value', values: mixerNames(), input: name, message: 'there is no such mixer' });
  }
});

export const modelConfigSchema = z.strictObject({
  vocabSize: count().default(257).describe('Number of tokens; training sets it from the tokenizer.'),
  dim: count().default(256).describe('Width D of the residual stream.'),
  blocks: z
    .array(mixerName)
    .min(1)
    .default(['mlstm', 'slstm', 'mlstm', 'slstm'])
    .describe('The mixer of each residual block, first to last; xLSTM[1:1] alternates mlstm and slstm.'),
  ...mixerFields,
  custom: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('Options of mixers that are not of the library, by their names.'),
  feedForward: z
    .strictObject({
      behind: z
        .enum(['published', 'all', 'none'])
        .default('published')
        .describe('Which mixers have it behind them: those of whose published architecture it is part, all, or none.'),
      kind: z
        .enum(['gated', 'plain'])
        .default('gated')
        .describe('down(activation(gate(x)) * up(x)), or down(activation(up(x))).'),
      bias: z.boolean().default(false).describe('Biases in its maps.'),
      factor: z.number().positive().default(1.3).describe('Inner width over dim, before it is rounded up.'),
      roundTo: count().default(64).describe('The inner width is rounded up to a multiple of it.'),
      activation: z
        .enum(['gelu', 'silu', 'relu', 'relu2', 'sigmoid', 'tanh'])
        .default('gelu')
        .describe('Its activation.'),
    })
    .prefault({})
    .describe('The feed-forward layer behind mixers.'),
  tieWeights: z.boolean().default(false).describe('Use the embedding as output layer.'),
  bias: z.boolean().default(false).describe('Biases in the projections of mixers that can have them.'),
  dropout: z
    .number()
    .min(0)
    .max(0.99)
    .default(0)
    .describe('Probability of dropping an element behind each mixer and feed-forward layer.'),
  norm: z
    .enum(['layernorm', 'rmsnorm', 'layernormBias'])
    .default('layernorm')
    .describe('Norm before each mixer, each feed-forward layer and the output layer; layernorm alone has no bias.'),
  normEps: z.number().positive().default(1e-5).describe('Added to the variance, or the mean square, in every norm.'),
  frame: z
    .enum(['residual', 'stacked'])
    .default('residual')
    .describe('Pre-norm residual blocks, or mixers one after the other without norms: a plain multi-layer LSTM.'),
  positions: z
    .enum(['none', 'learned'])
    .default('none')
    .describe('Learned vectors of the positions within a document, added to the embedding, as in GPT.'),
  maxLength: count().default(2048).describe('Number of learned positions; a longer document is an error.'),
  embeddingNorm: z.boolean().default(false).describe('Norm behind the embedding, as in RWKV.'),
  init: z
    .enum(['xlstm', 'llama', 'gpt', 'rwkv4', 'rwkv5'])
    .default('xlstm')
    .describe(
      'Initial matrices, but for mixers with their own: std sqrt(2/(5 dim)) and 2/(n sqrt(dim)) for those that write to the ' +
        'residual stream, with n the number of blocks (xlstm) or of residual branches (llama); 0.02 and 0.02/sqrt(2 blocks) (gpt); ' +
        'orthogonal and zero, with a small uniform embedding (rwkv4, and rwkv5 for later versions).',
    ),
  outputNorm: z.boolean().default(true).describe('Norm before the output layer.'),
  logitSoftCap: z
    .number()
    .min(0)
    .default(0)
    .describe('Logits are kept within it by cap * tanh(x / cap); 0 for no cap.'),
});

/** A complete configuration, defaults filled in. */
export type ModelConfig = z.output<typeof modelConfigSchema>;
/** What one writes: every field may be left out. */
export type ModelConfigInput = z.input<typeof modelConfigSchema>;

/** The options of a block's mixer. @throws ConfigError naming a wrong option of a mixer that is not of the library. */
export function mixerOptions(config: ModelConfig, name: string): Record<string, unknown> {
  if (!isCustomMixer(name)) return config[name as MixerName];
  return checkConfig(findMixer(name)!.options, config.custom[name] ?? {}, `custom.${name}`);
}

/** A configuration as it is written down: without the options of mixers that the model does not have. */
export function writtenConfig(config: ModelConfig): Partial<ModelConfig> {
  const unused = mixerNames().filter((name) => !config.blocks.includes(name));
  const hasCustom = Object.keys(config.custom).length > 0;
  return Object.fromEntries(
    Object.entries(config).filter(([name]) => !unused.includes(name) && (name !== 'custom' || hasCustom)),
  );
}
