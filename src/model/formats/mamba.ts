/**
 * @file Mamba as Hugging Face transformers writes it: fields of the configuration and names of tensors, in both
 * directions. Projections of one input that it joins are parameters of their own here.
 */
import * as z from 'zod';
import type { ParameterTable } from '../../layers/parameter.js';
import { size } from '../../tensor/shape.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, type ModelConfig } from '../config.js';
import type { ForeignTensor } from './foreign.js';
import type { Architecture } from './transformers.js';

const count = () => z.number().int().min(1);

/** Not strict: transformers writes fields of initial values, generation and training into the same file. */
const schema = z.object({
  vocab_size: count().default(50_280),
  hidden_size: count().default(768),
  state_size: count().default(16),
  num_hidden_layers: count().default(32),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  expand: z.number().positive().default(2),
  intermediate_size: count().nullable().optional(),
  conv_kernel: count().default(4),
  use_bias: z.boolean().default(false),
  use_conv_bias: z.literal(true, 'the convolution must have a bias').default(true),
  hidden_act: z.literal('silu', 'the activation must be silu').default('silu'),
  time_step_rank: z.union([count(), z.literal('auto')]).default('auto'),
  time_step_min: z.number().positive().default(1e-3),
  time_step_max: z.number().positive().default(0.1),
  tie_word_embeddings: z.boolean().default(true),
});

function readConfig(value: unknown, what: string): ModelConfig {
  const fields = checkConfig<z.ZodType<z.output<typeof schema>>>(schema, value, what);
  const { hidden_size: dim, time_step_rank: rank } = fields;
  return modelConfigSchema.parse({
    vocabSize: fields.vocab_size,
    dim,
    blocks: Array.from({ length: fields.num_hidden_layers }, () => 'mamba'),
    mamba: {
      expand: (fields.intermediate_size ?? Math.floor(fields.expand * dim)) / dim,
      stateSize: fields.state_size,
      convKernel: fields.conv_kernel,
      stepRank: rank === 'auto' ? 0 : rank,
      stepRange: [fields.time_step_min, fields.time_step_max],
    },
    bias: fields.use_bias,
    norm: 'rmsnorm',
    normEps: fields.layer_norm_epsilon,
    tieWeights: fields.tie_word_embeddings,
  });
}

/** Why neither Mamba's layout can hold the frame of a model, or null. */
export function notMambaFrame(config: ModelConfig): string | null {
  const { feedForward, frame, embeddingNorm, norm, outputNorm, logitSoftCap, positions } = config;
  if (frame !== 'residual') return 'its blocks have no residual connections';
  if (embeddingNorm) return 'it has a norm behind the embedding';
  if (positions !== 'none') return 'it has learned positions';
  if (norm !== 'rmsnorm' || !outputNorm) return 'its norms are not rmsnorm, the one before the output layer included';
  if (feedForward.behind === 'all') return 'it has feed-forward layers';
  if (logitSoftCap !== 0) return 'it has a soft cap on its logits';
  return null;
}

function writeConfig(config: ModelConfig): Record<string, unknown> {
  const { dim, mamba } = config;
  return {
    architectures: ['MambaForCausalLM'],
    model_type: 'mamba',
    conv_kernel: mamba.convKernel,
    expand: mamba.expand,
    hidden_act: 'silu',
    hidden_size: dim,
    intermediate_size: mamba.expand * dim,
    layer_norm_epsilon: config.normEps,
    num_hidden_layers: config.blocks.length,
    residual_in_fp32: true,
    state_size: mamba.stateSize,
    tie_word_embeddings: config.tieWeights,
    time_step_max: mamba.stepRange[1],
    time_step_min: mamba.stepRange[0],
    time_step_rank: mamba.stepRank === 0 ? Math.ceil(dim / 16) : mamba.stepRank,
    use_bias: config.bias,
    use_cache: true,
    use_conv_bias: true,
    vocab_size: config.vocabSize,
  };
}

/** The tensors of a block there, and the parameters here whose rows follow each other in them. */
const OF_BLOCK: Readonly<Record<string, readonly string[]>> = {
  'norm.weight': ['norm.weight'],
  'mixer.A_log': ['mixer.logRates'],
  'mixer.D': ['mixer.skip'],
  'mixer.conv1d.bias': ['mixer.conv.bias'],
  'mixer.conv1d.weight': ['mixer.conv.weight'],
  'mixer.dt_proj.bias': ['mixer.step.bias'],
  'mixer.dt_proj.weight': ['mixer.step.weight'],
  'mixer.in_proj.bias': ['mixer.x.bias', 'mixer.gate.bias'],
  'mixer.in_proj.weight': ['mixer.x.weight', 'mixer.gate.weight'],
  'mixer.out_proj.bias': ['mixer.out.bias'],
  'mixer.out_proj.weight': ['mixer.out.weight'],
  'mixer.x_proj.weight': ['mixer.stepDown.weight', 'mixer.B.weight', 'mixer.C.weight'],
};

const TOP: Readonly<Record<string, string>> = {
  'backbone.embeddings.weight': 'embedding.weight',
  'backbone.norm_f.weight': 'norm.weight',
  'lm_head.weight': 'head.weight',
};

/** The tensors of a model of either Mamba, by the table of those of a block. */
export function mambaTensors(
  ofBlock: Readonly<Record<string, readonly string[]>>,
  { blocks }: ModelConfig,
  table: ParameterTable,
): ForeignTensor[] {
  const tensor = (name: string, parts: readonly string[]): ForeignTensor[] => {
    const specs = parts.map((part) => table[part]);
    if (specs[0] === undefined) return []; // an output layer that is the embedding, or a bias that there is not
    const [, ...columns] = specs[0].shape;
    const rows = specs.reduce((sum, spec) => sum + spec!.shape[0]!, 0);
    // A depthwise convolution of torch has one input channel per group: [D,1,K].
    const shape = name.endsWith('conv1d.weight') ? [rows, 1, size(columns)] : [rows, ...columns];
    return [{ name, shape, parts }];
  };
  return [
    ...blocks.flatMap((_, k) =>
      Object.entries(ofBlock).flatMap(([there, here]) =>
        tensor(
          `backbone.layers.${k}.${there}`,
          here.map((part) => `blocks.${k}.${part}`),
        ),
      ),
    ),
    ...Object.entries(TOP).flatMap(([there, here]) => tensor(there, [here])),
  ];
}

export const mamba: Architecture = {
  modelType: 'mamba',
  mixer: 'mamba',
  readConfig,
  refusal: notMambaFrame,
  writeConfig,
  tensors: (config, table) => mambaTensors(OF_BLOCK, config, table),
  // Of a model with tied weights some files hold the output layer once more.
  derived: /^lm_head\.weight$/,
};
