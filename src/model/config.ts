/** @file The configuration of a language model: every field with its meaning and default. Presets are in `presets.ts`. */
import { z } from 'zod';
import { mixerNames, type MixerConfigs } from '../mixers/registry.js';

const count = () => z.number().int().min(1);

const recurrentSchema = z
  .strictObject({
    heads: count().default(4).describe('Heads of the recurrence; must divide dim.'),
    convKernel: z
      .number()
      .int()
      .min(0)
      .max(64)
      .default(4)
      .describe('Taps of the causal convolution before the input and forget gates; 0 for none.'),
    recurrentInit: z
      .enum(['zeros', 'standard'])
      .default('zeros')
      .describe('Initial recurrent matrices: zeros, or uniform in +-1/sqrt(dim).'),
    biasInit: z
      .enum(['powerlaw', 'small', 'standard', 'zeros'])
      .default('powerlaw')
      .describe(
        'Initial biases: forget gates from +5 to -7 by a power law per block, from 3 to 6, uniform in +-1/sqrt(dim), or zero.',
      ),
  })
  .prefault({});

export const modelConfigSchema = z.strictObject({
  vocabSize: count().default(257).describe('Number of tokens; training sets it from the tokenizer.'),
  dim: count().default(256).describe('Width D of the residual stream.'),
  blocks: z
    .array(z.enum(mixerNames as [string, ...string[]]))
    .min(1)
    .default(['mlstm', 'slstm', 'mlstm', 'slstm'])
    .describe('The mixer of each residual block, first to last; xLSTM[1:1] alternates mlstm and slstm.'),
  mlstm: z
    .strictObject({
      heads: count().default(4).describe('Heads of the matrix memory; must divide the inner width.'),
      convKernel: count().max(64).default(4).describe('Taps of the causal convolution before q and k.'),
      qkvBlockSize: count().default(4).describe('Width of the blocks of the block-diagonal q, k and v projections.'),
      projectionFactor: z
        .number()
        .positive()
        .default(2)
        .describe('Inner width over dim, rounded up to a multiple of 64.'),
      inputGate: z.enum(['exponential', 'sigmoid']).default('exponential').describe('Input gate of the cell.'),
      normalize: z.boolean().default(true).describe('Divide by the normaliser max(|q.n|, 1).'),
      chunkSize: count()
        .default(64)
        .describe('Steps per chunk of the chunkwise form; a matter of speed, not of results.'),
    })
    .prefault({})
    .describe('Options of mlstm blocks.'),
  mlstmLarge: z
    .strictObject({
      heads: count().default(4).describe('Heads of the matrix memory; must divide the widths of keys and values.'),
      qkFactor: z.number().positive().default(0.5).describe('Width of all queries, and of all keys, over dim.'),
      vFactor: z.number().positive().default(1).describe('Width of all values over dim.'),
      gateSoftCap: z
        .number()
        .min(0)
        .default(15)
        .describe('Gate pre-activations are kept within it by cap * tanh(x / cap); 0 for no cap.'),
      chunkSize: count()
        .default(64)
        .describe('Steps per chunk of the chunkwise form; a matter of speed, not of results.'),
    })
    .prefault({})
    .describe('Options of mlstmLarge blocks: the mLSTM of xLSTM Large, the architecture of xLSTM-7B.'),
  slstm: recurrentSchema.describe('Options of slstm blocks.'),
  lstm: recurrentSchema.describe('Options of lstm blocks.'),
  feedForward: z
    .strictObject({
      factor: z.number().positive().default(1.3).describe('Inner width over dim, before it is rounded up.'),
      roundTo: count().default(64).describe('The inner width is rounded up to a multiple of it.'),
      activation: z
        .enum(['gelu', 'silu', 'relu', 'sigmoid', 'tanh'])
        .default('gelu')
        .describe('Activation of the gate.'),
    })
    .prefault({})
    .describe('The gated feed-forward layer of slstm, lstm and mlstmLarge blocks.'),
  tieWeights: z.boolean().default(false).describe('Use the embedding as output layer.'),
  bias: z.boolean().default(false).describe('Biases in the projections of mlstm blocks.'),
  dropout: z
    .number()
    .min(0)
    .max(0.99)
    .default(0)
    .describe('Probability of dropping an element behind each mixer and feed-forward layer.'),
  norm: z
    .enum(['layernorm', 'rmsnorm'])
    .default('layernorm')
    .describe('Norm before each mixer, each feed-forward layer and the output layer.'),
  normEps: z.number().positive().default(1e-5).describe('Added to the variance, or the mean square, in every norm.'),
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

/** What each mixer needs to know of the configuration. */
export function mixerConfigs(config: ModelConfig): MixerConfigs {
  const { dropout, normEps, bias } = config;
  return {
    mlstm: { ...config.mlstm, bias, dropout, normEps },
    mlstmLarge: { ...config.mlstmLarge, dropout, normEps },
    slstm: { ...config.slstm, dropout, normEps },
    lstm: { ...config.lstm, dropout, normEps },
  };
}
