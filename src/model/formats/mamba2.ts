/**
 * @file Mamba-2 as Hugging Face transformers writes it: fields of the configuration and names of tensors, in both
 * directions. Projections and convolutions that it joins are parameters of their own here.
 */
import * as z from 'zod';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, type ModelConfig } from '../config.js';
import { mambaTensors, notMambaFrame } from './mamba.js';
import type { Architecture } from './transformers.js';

const count = () => z.number().int().min(1);

/** How transformers writes infinity into JSON. */
const INFINITY = { __float__: 'Infinity' } as const;
/** [0, infinity], which older releases write in other ways. */
const isNoLimit = (limit: unknown): boolean =>
  Array.isArray(limit) && limit.length === 2 && limit[0] === 0 && /Infinity|null/.test(JSON.stringify(limit[1]));

/** Not strict: transformers writes fields of initial values, generation and training into the same file. */
const schema = z
  .object({
    vocab_size: count().default(32_768),
    hidden_size: count().default(4096),
    num_heads: count().default(128),
    head_dim: count().default(64),
    state_size: count().default(128),
    n_groups: count().default(8),
    num_hidden_layers: count().default(64),
    layer_norm_epsilon: z.number().positive().default(1e-5),
    expand: z.number().positive().default(2),
    conv_kernel: count().default(4),
    use_bias: z.literal(false, 'biases of the projections are not supported, use_bias must be false').default(false),
    use_conv_bias: z.literal(true, 'the convolution must have a bias').default(true),
    hidden_act: z.literal('silu', 'the activation must be silu').default('silu'),
    rms_norm: z.literal(true, 'the gated norm must be there, rms_norm must be true').default(true),
    time_step_limit: z.unknown().refine((limit) => limit === undefined || isNoLimit(limit), {
      message: 'step sizes must have no limits: [0, Infinity]',
    }),
    time_step_min: z.number().positive().default(1e-3),
    time_step_max: z.number().positive().default(0.1),
    tie_word_embeddings: z.boolean().default(false),
  })
  .superRefine(({ expand, hidden_size: dim, num_heads: heads, head_dim: width }, context) => {
    if (Math.floor(expand * dim) === heads * width) return;
    const message = `heads must share out the inner width exactly: ${heads} heads of ${width} are not ${expand * dim}`;
    context.addIssue({ code: 'custom', path: ['head_dim'], message });
  });

function readConfig(value: unknown, what: string): ModelConfig {
  const fields = checkConfig<z.ZodType<z.output<typeof schema>>>(schema, value, what);
  const { hidden_size: dim } = fields;
  return modelConfigSchema.parse({
    vocabSize: fields.vocab_size,
    dim,
    blocks: Array.from({ length: fields.num_hidden_layers }, () => 'mamba2'),
    mamba2: {
      expand: (fields.num_heads * fields.head_dim) / dim,
      headWidth: fields.head_dim,
      stateSize: fields.state_size,
      groups: fields.n_groups,
      convKernel: fields.conv_kernel,
      stepRange: [fields.time_step_min, fields.time_step_max],
    },
    norm: 'rmsnorm',
    normEps: fields.layer_norm_epsilon,
    tieWeights: fields.tie_word_embeddings,
  });
}

const refusal = (config: ModelConfig): string | null =>
  notMambaFrame(config) ?? (config.bias ? 'its projections have biases' : null);

function writeConfig(config: ModelConfig): Record<string, unknown> {
  const { dim, mamba2 } = config;
  const width = mamba2.expand * dim;
  const headWidth = Math.min(mamba2.headWidth, width);
  return {
    architectures: ['Mamba2ForCausalLM'],
    model_type: 'mamba2',
    conv_kernel: mamba2.convKernel,
    expand: mamba2.expand,
    head_dim: headWidth,
    hidden_act: 'silu',
    hidden_size: dim,
    layer_norm_epsilon: config.normEps,
    n_groups: mamba2.groups,
    num_heads: width / headWidth,
    num_hidden_layers: config.blocks.length,
    residual_in_fp32: true,
    rms_norm: true,
    state_size: mamba2.stateSize,
    tie_word_embeddings: config.tieWeights,
    time_step_limit: [0, INFINITY],
    time_step_max: mamba2.stepRange[1],
    time_step_min: mamba2.stepRange[0],
    use_bias: false,
    use_cache: true,
    use_conv_bias: true,
    vocab_size: config.vocabSize,
  };
}

const CONVOLVED = ['x', 'B', 'C'] as const;

/** The tensors of a block there, and the parameters here whose rows follow each other in them. */
const OF_BLOCK: Readonly<Record<string, readonly string[]>> = {
  'norm.weight': ['norm.weight'],
  'mixer.A_log': ['mixer.logRates'],
  'mixer.D': ['mixer.skip'],
  'mixer.conv1d.bias': CONVOLVED.map((name) => `mixer.${name}Conv.bias`),
  'mixer.conv1d.weight': CONVOLVED.map((name) => `mixer.${name}Conv.weight`),
  'mixer.dt_bias': ['mixer.step.bias'],
  'mixer.in_proj.weight': ['gate', ...CONVOLVED, 'step'].map((name) => `mixer.${name}.weight`),
  'mixer.norm.weight': ['mixer.norm.weight'],
  'mixer.out_proj.weight': ['mixer.out.weight'],
};

export const mamba2: Architecture = {
  modelType: 'mamba2',
  mixer: 'mamba2',
  readConfig,
  refusal,
  writeConfig,
  tensors: (config, table) => mambaTensors(OF_BLOCK, config, table),
  // Of a model with tied weights some files hold the output layer once more.
  derived: /^lm_head\.weight$/,
};
