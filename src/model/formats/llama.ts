/**
 * @file Llama as Hugging Face transformers writes it: fields of the configuration and names of tensors, in both directions.
 * Rotary frequencies that are scaled for longer contexts are refused.
 */
import * as z from 'zod';
import { feedForwardWidth } from '../../layers/feed-forward.js';
import type { ParameterTable } from '../../layers/parameter.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, type ModelConfig } from '../config.js';
import { factorOf, type ForeignTensor } from './foreign.js';
import type { Architecture } from './transformers.js';

const count = () => z.number().int().min(1);

const NO_SCALING = 'scaled rotary frequencies are not supported, only the type "default" is';
/** What says how the rotary frequencies are: the older field has `type`, the newer one the base as well. */
const ropeFields = z.looseObject({
  rope_type: z.literal('default', NO_SCALING).optional(),
  type: z.literal('default', NO_SCALING).optional(),
  rope_theta: z.number().positive().optional(),
});

/** Not strict: transformers writes fields of generation and training into the same file. */
const schema = z
  .object({
    vocab_size: count().default(32_000),
    hidden_size: count().default(4096),
    intermediate_size: count().default(11_008),
    num_hidden_layers: count().default(32),
    num_attention_heads: count().default(32),
    num_key_value_heads: count().nullable().optional(),
    head_dim: count().nullable().optional(),
    hidden_act: z.literal('silu', 'the activation must be silu').default('silu'),
    max_position_embeddings: count().default(2048),
    rms_norm_eps: z.number().positive().default(1e-6),
    tie_word_embeddings: z.boolean().default(false),
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    rope_theta: z.number().positive().nullable().optional(),
    rope_scaling: ropeFields.nullable().optional(),
    rope_parameters: ropeFields.nullable().optional(),
  })
  .superRefine((fields, context) => {
    const { hidden_size: dim, num_attention_heads: heads, head_dim: width } = fields;
    if (width === undefined || width === null || width * heads === dim) return;
    context.addIssue({
      code: 'custom',
      path: ['head_dim'],
      message: `heads must share out hidden_size exactly: ${heads} heads of ${width} are not ${dim}`,
    });
  });

function readConfig(value: unknown, what: string): ModelConfig {
  const fields = checkConfig<z.ZodType<z.output<typeof schema>>>(schema, value, what);
  const { hidden_size: dim, num_attention_heads: heads, num_key_value_heads: kvHeads } = fields;
  return modelConfigSchema.parse({
    vocabSize: fields.vocab_size,
    dim,
    blocks: Array.from({ length: fields.num_hidden_layers }, () => 'attention'),
    attention: {
      heads,
      kvHeads: kvHeads === heads ? 0 : (kvHeads ?? 0),
      positions: 'rotary',
      theta: fields.rope_parameters?.rope_theta ?? fields.rope_theta ?? 10_000,
      window: fields.max_position_embeddings,
    },
    feedForward: {
      bias: fields.mlp_bias,
      factor: factorOf(fields.intermediate_size, dim),
      roundTo: 1,
      activation: 'silu',
    },
    bias: fields.attention_bias,
    norm: 'rmsnorm',
    normEps: fields.rms_norm_eps,
    tieWeights: fields.tie_word_embeddings,
    init: 'llama',
  });
}

function refusal(config: ModelConfig): string | null {
  const { attention, feedForward, frame, embeddingNorm, norm, outputNorm, logitSoftCap, positions } = config;
  if (frame !== 'residual') return 'its blocks have no residual connections';
  if (embeddingNorm) return 'it has a norm behind the embedding';
  if (norm !== 'rmsnorm' || !outputNorm) return 'its norms are not rmsnorm, the one before the output layer included';
  if (positions !== 'none') return 'it has learned positions';
  if (attention.positions !== 'rotary') return 'its positions are not rotary';
  if (feedForward.behind === 'none') return 'it has no feed-forward layers';
  if (feedForward.kind !== 'gated' || feedForward.activation !== 'silu')
    return 'its feed-forward layers are not gated by silu';
  if (logitSoftCap !== 0) return 'it has a soft cap on its logits';
  return null;
}

function writeConfig(config: ModelConfig): Record<string, unknown> {
  const { attention, dim, feedForward } = config;
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    attention_bias: config.bias,
    attention_dropout: 0,
    head_dim: dim / attention.heads,
    hidden_act: 'silu',
    hidden_size: dim,
    initializer_range: 0.02,
    intermediate_size: feedForwardWidth(dim, feedForward.factor, feedForward.roundTo),
    max_position_embeddings: attention.window,
    mlp_bias: feedForward.bias,
    num_attention_heads: attention.heads,
    num_hidden_layers: config.blocks.length,
    num_key_value_heads: attention.kvHeads === 0 ? attention.heads : attention.kvHeads,
    pretraining_tp: 1,
    rms_norm_eps: config.normEps,
    // The newer releases read the first of these, the older ones the second.
    rope_parameters: { rope_theta: attention.theta, rope_type: 'default' },
    rope_theta: attention.theta,
    tie_word_embeddings: config.tieWeights,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

/** Parts of a block here and there; each may have a weight and a bias. */
const PARTS: Readonly<Record<string, string>> = {
  norm: 'input_layernorm',
  'mixer.q': 'self_attn.q_proj',
  'mixer.k': 'self_attn.k_proj',
  'mixer.v': 'self_attn.v_proj',
  'mixer.out': 'self_attn.o_proj',
  feedForwardNorm: 'post_attention_layernorm',
  'feedForward.gate': 'mlp.gate_proj',
  'feedForward.up': 'mlp.up_proj',
  'feedForward.down': 'mlp.down_proj',
};

const TOP: Readonly<Record<string, string>> = {
  embedding: 'model.embed_tokens',
  norm: 'model.norm',
  head: 'lm_head',
};

function tensors({ blocks }: ModelConfig, table: ParameterTable): ForeignTensor[] {
  const named = (here: string, there: string): ForeignTensor[] =>
    ['weight', 'bias'].flatMap((kind) => {
      const spec = table[`${here}.${kind}`];
      return spec === undefined ? [] : [{ name: `${there}.${kind}`, shape: spec.shape, parts: [`${here}.${kind}`] }];
    });
  return [
    ...blocks.flatMap((_, k) =>
      Object.entries(PARTS).flatMap(([here, there]) => named(`blocks.${k}.${here}`, `model.layers.${k}.${there}`)),
    ),
    ...Object.entries(TOP).flatMap(([here, there]) => named(here, there)),
  ];
}

export const llama: Architecture = {
  modelType: 'llama',
  mixer: 'attention',
  readConfig,
  refusal,
  writeConfig,
  tensors,
  derived: /\.rotary_emb\.inv_freq$/,
};
