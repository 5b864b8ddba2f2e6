/**
 * @file xLSTM Large, the architecture of xLSTM-7B, as Hugging Face transformers ("hf") and NX-AI/xlstm ("nxai-large")
 * write it: fields of the configuration and names of tensors. The two differ in little.
 */
import * as z from 'zod';
import { feedForwardWidth } from '../../layers/feed-forward.js';
import { size } from '../../tensor/shape.js';
import type { ParameterTable } from '../../layers/parameter.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, type ModelConfig } from '../config.js';
import { notPublishedFrame, type ForeignTensor } from './foreign.js';

export type LargeFormat = 'hf' | 'nxai-large';
export type WeightMode = 'single' | 'fused';

/** Added to the cell's denominator by both libraries, and by this one. */
const CELL_EPS = 1e-6;

const count = () => z.number().int().min(1);

/** Fields that change no number of the model, or only in which precision it is computed. */
const HARMLESS = {
  norm_reduction_force_float32: z.unknown(),
  chunkwise_kernel: z.unknown(),
  sequence_kernel: z.unknown(),
  step_kernel: z.unknown(),
  mode: z.unknown(),
  chunk_size: z.unknown(),
  return_last_states: z.unknown(),
  autocast_kernel_dtype: z.unknown(),
  inference_state_dtype: z.unknown(),
} as const;

const SHARED = {
  vocab_size: count(),
  num_heads: count(),
  use_bias: z.literal(false, 'biases are not supported, use_bias must be false').default(false),
  norm_eps: z.number().positive().default(1e-6),
  add_out_norm: z.boolean().default(true),
  qk_dim_factor: z.number().positive().default(0.5),
  v_dim_factor: z.number().positive().default(1),
  eps: z.literal(CELL_EPS, `the eps of the cell must be ${CELL_EPS}`).default(CELL_EPS),
  ffn_proj_factor: z.number().positive(),
  ffn_round_up_to_multiple_of: count().default(64),
  gate_soft_cap: z.number().min(0).nullable().default(15),
  output_logit_soft_cap: z.number().min(0).nullable().default(30),
  weight_mode: z.enum(['single', 'fused']).default('single'),
  ...HARMLESS,
} as const;

const nxaiSchema = z.strictObject({
  ...SHARED,
  embedding_dim: count(),
  num_blocks: count(),
  ffn_proj_factor: SHARED.ffn_proj_factor.default(2.6667),
});

/** Not strict: transformers writes fields of generation and training into the same file. */
const hfSchema = z
  .object({
    ...SHARED,
    vocab_size: SHARED.vocab_size.default(50304),
    num_heads: SHARED.num_heads.default(8),
    hidden_size: count().nullable().optional(),
    embedding_dim: count().nullable().optional(),
    num_hidden_layers: count().nullable().optional(),
    num_blocks: count().nullable().optional(),
    tie_word_embeddings: z.boolean().default(false),
    ffn_proj_factor: SHARED.ffn_proj_factor.default(2.667),
  })
  .transform((fields) => ({
    ...fields,
    embedding_dim: fields.hidden_size ?? fields.embedding_dim ?? 4096,
    num_blocks: fields.num_hidden_layers ?? fields.num_blocks ?? 32,
  }));

/** The factor that a configuration of theirs needs for the width that a model has here. */
function exactFactor({ dim, feedForward: { factor, roundTo } }: ModelConfig): number {
  return roundedFactor(dim, factor, roundTo) === factor ? factor : feedForwardWidth(dim, factor, roundTo) / dim;
}

export interface LargeModel {
  readonly config: ModelConfig;
  readonly weightMode: WeightMode;
}

/**
 * The configuration of a Large model in this library's terms.
 * @throws ConfigError naming each field that is wrong, unknown, or asks for what this library does not compute.
 */
export function readLargeConfig(value: unknown, format: LargeFormat, what: string): LargeModel {
  const fields = checkConfig<z.ZodType<z.output<typeof hfSchema> | z.output<typeof nxaiSchema>>>(
    format === 'hf' ? hfSchema : nxaiSchema,
    value,
    what,
  );
  const { embedding_dim: dim, ffn_proj_factor: factor, ffn_round_up_to_multiple_of: roundTo } = fields;
  const config = modelConfigSchema.parse({
    vocabSize: fields.vocab_size,
    dim,
    blocks: Array.from({ length: fields.num_blocks }, () => 'mlstmLarge'),
    mlstmLarge: {
      heads: fields.num_heads,
      qkFactor: fields.qk_dim_factor,
      vFactor: fields.v_dim_factor,
      gateSoftCap: fields.gate_soft_cap ?? 0,
    },
    feedForward: { factor: roundedFactor(dim, factor, roundTo), roundTo, activation: 'silu' },
    norm: 'rmsnorm',
    normEps: fields.norm_eps,
    outputNorm: fields.add_out_norm,
    logitSoftCap: fields.output_logit_soft_cap ?? 0,
    tieWeights: 'tie_word_embeddings' in fields && fields.tie_word_embeddings,
  });
  return { config, weightMode: fields.weight_mode };
}

/**
 * Both libraries round the inner width up by integer division, which rounds down what is less than 1 above a multiple:
 * 64.0008 becomes 64. Where that matters the factor says the width exactly.
 */
function roundedFactor(dim: number, factor: number, multiple: number): number {
  const width = Math.floor((dim * factor + multiple - 1) / multiple) * multiple;
  return width === Math.ceil((dim * factor) / multiple) * multiple ? factor : width / dim;
}

/**
 * The fields of a configuration file for a Large model.
 * @throws Error for a model of another architecture, naming what does not fit.
 */
export function writeLargeConfig(
  config: ModelConfig,
  format: LargeFormat,
  weightMode: WeightMode,
): Record<string, unknown> {
  const problem = notLarge(config, format);
  if (problem !== null) throw new Error(`convert: ${format} cannot hold this model: ${problem}`);
  const { mlstmLarge, feedForward } = config;
  const shared = {
    vocab_size: config.vocabSize,
    embedding_dim: config.dim,
    num_blocks: config.blocks.length,
    num_heads: mlstmLarge.heads,
    use_bias: false,
    norm_eps: config.normEps,
    norm_reduction_force_float32: true,
    add_out_norm: config.outputNorm,
    qk_dim_factor: mlstmLarge.qkFactor,
    v_dim_factor: mlstmLarge.vFactor,
    chunkwise_kernel: 'chunkwise--native_autograd',
    sequence_kernel: 'native_sequence__native',
    step_kernel: 'native',
    mode: format === 'hf' ? 'inference' : 'train',
    chunk_size: mlstmLarge.chunkSize,
    return_last_states: true,
    autocast_kernel_dtype: 'float32',
    eps: CELL_EPS,
    inference_state_dtype: 'float32',
    ffn_proj_factor: exactFactor(config),
    ffn_round_up_to_multiple_of: feedForward.roundTo,
    gate_soft_cap: mlstmLarge.gateSoftCap,
    output_logit_soft_cap: config.logitSoftCap,
    weight_mode: weightMode,
  };
  if (format === 'nxai-large') return shared;
  return {
    architectures: ['xLSTMForCausalLM'],
    model_type: 'xlstm',
    ...shared,
    hidden_size: config.dim,
    num_hidden_layers: config.blocks.length,
    max_inference_chunksize: 16384,
    tie_word_embeddings: config.tieWeights,
    use_cache: true,
  };
}

/** Why a model is not of this architecture, or null. */
function notLarge(config: ModelConfig, format: LargeFormat): string | null {
  const stranger = config.blocks.find((kind) => kind !== 'mlstmLarge');
  if (stranger !== undefined) return `it has ${stranger} blocks, and the layout only those of xLSTM Large (mlstmLarge)`;
  const frame = notPublishedFrame(config);
  if (frame !== null) return frame;
  if (config.norm !== 'rmsnorm') return 'its norm is not rmsnorm';
  if (config.feedForward.activation !== 'silu') return 'the activation of its feed-forward layers is not silu';
  if (config.mlstmLarge.gateSoftCap === 0 || config.logitSoftCap === 0) return 'it has no soft cap';
  if (config.tieWeights && format === 'nxai-large') return 'it has tied weights, and the layout knows none';
  return null;
}

/** Names of a block's tensors that hold one parameter each, in both weight modes. */
const PLAIN: Readonly<Record<string, string>> = {
  'norm.weight': 'norm_mlstm.weight',
  'mixer.cellNorm.weight': 'mlstm_layer.multihead_norm.weight',
  'mixer.out.weight': 'mlstm_layer.out_proj.weight',
  'feedForwardNorm.weight': 'norm_ffn.weight',
  'feedForward.down.weight': 'ffn.proj_down.weight',
};

const SINGLE: Readonly<Record<string, string>> = {
  'mixer.q.weight': 'mlstm_layer.q.weight',
  'mixer.k.weight': 'mlstm_layer.k.weight',
  'mixer.v.weight': 'mlstm_layer.v.weight',
  'mixer.ogate.weight': 'mlstm_layer.ogate_preact.weight',
  'mixer.igate.weight': 'mlstm_layer.igate_preact.weight',
  'mixer.igate.bias': 'mlstm_layer.igate_preact.bias',
  'mixer.fgate.weight': 'mlstm_layer.fgate_preact.weight',
  'mixer.fgate.bias': 'mlstm_layer.fgate_preact.bias',
  'feedForward.gate.weight': 'ffn.proj_up_gate.weight',
  'feedForward.up.weight': 'ffn.proj_up.weight',
};

/** Tensors that hold the rows of several parameters, one after the other. */
const FUSED: Readonly<Record<string, readonly string[]>> = {
  'mlstm_layer.qkv_opreact.weight': ['mixer.q.weight', 'mixer.k.weight', 'mixer.v.weight', 'mixer.ogate.weight'],
  'mlstm_layer.ifgate_preact.weight': ['mixer.igate.weight', 'mixer.fgate.weight'],
  'mlstm_layer.ifgate_preact.bias': ['mixer.igate.bias', 'mixer.fgate.bias'],
  'ffn.proj_up_gate_z.weight': ['feedForward.gate.weight', 'feedForward.up.weight'],
};

/** The tensors of a Large model in a file. */
export function largeTensors(
  { blocks, outputNorm, tieWeights }: ModelConfig,
  table: ParameterTable,
  format: LargeFormat,
  weightMode: WeightMode,
): ForeignTensor[] {
  const whole = (name: string, part: string): ForeignTensor => joined(name, [part]);
  const joined = (name: string, parts: readonly string[]): ForeignTensor => {
    const [first, ...rest] = parts.map((part) => table[part]!.shape);
    const rows = [first!, ...rest].reduce((sum, shape) => sum + shape[0]!, 0);
    return { name, shape: [rows, ...first!.slice(1)], parts };
  };
  const ofBlock = (_: string, k: number): ForeignTensor[] => {
    const here = `blocks.${k}.`;
    const named = (names: Readonly<Record<string, string>>) =>
      Object.entries(names).map(([part, name]) => whole(`backbone.${here}${name}`, here + part));
    const fused = Object.entries(FUSED).map(([name, parts]) =>
      joined(
        `backbone.${here}${name}`,
        parts.map((part) => here + part),
      ),
    );
    return [...named(PLAIN), ...(weightMode === 'single' ? named(SINGLE) : fused)];
  };
  return [
    whole(format === 'hf' ? 'backbone.embeddings.weight' : 'embedding.weight', 'embedding.weight'),
    ...blocks.flatMap(ofBlock),
    ...(outputNorm ? [whole('backbone.out_norm.weight', 'norm.weight')] : []),
    ...(tieWeights ? [] : [whole('lm_head.weight', 'head.weight')]),
  ].filter(({ shape }) => size(shape) > 0);
}
