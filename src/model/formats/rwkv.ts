/**
 * @file RWKV-4 as Hugging Face transformers writes it: fields of the configuration and names of tensors, in both
 * directions. That library halves activations every few layers (`rescale_every`) to stay within float16; norms undo it, so
 * here nothing is halved.
 */
import * as z from 'zod';
import { feedForwardWidth } from '../../layers/feed-forward.js';
import type { ParameterTable } from '../../layers/parameter.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, type ModelConfig } from '../config.js';
import { factorOf, type ForeignTensor } from './foreign.js';
import type { Architecture } from './transformers.js';

const count = () => z.number().int().min(1);

/** Not strict: transformers writes fields of generation and training into the same file. */
const schema = z.object({
  vocab_size: count().default(50_277),
  hidden_size: count().default(4096),
  num_hidden_layers: count().default(32),
  attention_hidden_size: count().nullable().optional(),
  intermediate_size: count().nullable().optional(),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(false),
});

function readConfig(value: unknown, what: string): ModelConfig {
  const fields = checkConfig<z.ZodType<z.output<typeof schema>>>(schema, value, what);
  const { hidden_size: dim } = fields;
  const width = fields.attention_hidden_size ?? dim;
  return modelConfigSchema.parse({
    vocabSize: fields.vocab_size,
    dim,
    blocks: Array.from({ length: fields.num_hidden_layers }, () => 'rwkv4'),
    rwkv4: { width: width === dim ? 0 : width },
    feedForward: { factor: factorOf(fields.intermediate_size ?? 4 * dim, dim), roundTo: 1 },
    norm: 'layernormBias',
    normEps: fields.layer_norm_epsilon,
    embeddingNorm: true,
    tieWeights: fields.tie_word_embeddings,
    init: 'rwkv4',
  });
}

function refusal(config: ModelConfig): string | null {
  const { feedForward, frame, embeddingNorm, norm, outputNorm, logitSoftCap, positions } = config;
  if (frame !== 'residual') return 'its blocks have no residual connections';
  if (!embeddingNorm) return 'it has no norm behind the embedding';
  if (positions !== 'none') return 'it has learned positions';
  if (norm !== 'layernormBias' || !outputNorm) {
    return 'its norms are not layernormBias, the one before the output layer included';
  }
  if (feedForward.behind === 'none') return 'it has no channel mix';
  if (logitSoftCap !== 0) return 'it has a soft cap on its logits';
  return null;
}

function writeConfig(config: ModelConfig): Record<string, unknown> {
  const { dim, feedForward, rwkv4 } = config;
  return {
    architectures: ['RwkvForCausalLM'],
    model_type: 'rwkv',
    attention_hidden_size: rwkv4.width === 0 ? dim : rwkv4.width,
    hidden_size: dim,
    intermediate_size: feedForwardWidth(dim, feedForward.factor, feedForward.roundTo),
    layer_norm_epsilon: config.normEps,
    num_hidden_layers: config.blocks.length,
    rescale_every: 0,
    tie_word_embeddings: config.tieWeights,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

/** The parameters of a block and what they are called there. */
const OF_BLOCK: Readonly<Record<string, string>> = {
  'norm.weight': 'ln1.weight',
  'norm.bias': 'ln1.bias',
  'mixer.decay': 'attention.time_decay',
  'mixer.first': 'attention.time_first',
  'mixer.keyShift': 'attention.time_mix_key',
  'mixer.valueShift': 'attention.time_mix_value',
  'mixer.receptanceShift': 'attention.time_mix_receptance',
  'mixer.key.weight': 'attention.key.weight',
  'mixer.value.weight': 'attention.value.weight',
  'mixer.receptance.weight': 'attention.receptance.weight',
  'mixer.out.weight': 'attention.output.weight',
  'feedForwardNorm.weight': 'ln2.weight',
  'feedForwardNorm.bias': 'ln2.bias',
  'channelMix.keyShift': 'feed_forward.time_mix_key',
  'channelMix.receptanceShift': 'feed_forward.time_mix_receptance',
  'channelMix.key.weight': 'feed_forward.key.weight',
  'channelMix.receptance.weight': 'feed_forward.receptance.weight',
  'channelMix.value.weight': 'feed_forward.value.weight',
};

const TOP: Readonly<Record<string, string>> = {
  'embedding.weight': 'rwkv.embeddings.weight',
  'embeddingNorm.weight': 'rwkv.blocks.0.pre_ln.weight',
  'embeddingNorm.bias': 'rwkv.blocks.0.pre_ln.bias',
  'norm.weight': 'rwkv.ln_out.weight',
  'norm.bias': 'rwkv.ln_out.bias',
  'head.weight': 'head.weight',
};

function tensors({ blocks }: ModelConfig, table: ParameterTable): ForeignTensor[] {
  const tensor = (here: string, there: string): ForeignTensor[] => {
    const spec = table[here];
    if (spec === undefined) return [];
    // Mixtures of two steps stand there as [1,1,D].
    const shape = there.includes('.time_mix_') ? [1, 1, ...spec.shape] : spec.shape;
    return [{ name: there, shape, parts: [here] }];
  };
  return [
    ...blocks.flatMap((_, k) =>
      Object.entries(OF_BLOCK).flatMap(([here, there]) => tensor(`blocks.${k}.${here}`, `rwkv.blocks.${k}.${there}`)),
    ),
    ...Object.entries(TOP).flatMap(([here, there]) => tensor(here, there)),
  ];
}

export const rwkv: Architecture = {
  modelType: 'rwkv',
  mixer: 'rwkv4',
  readConfig,
  refusal,
  writeConfig,
  tensors,
  // Of a model with tied weights some files hold the output layer once more.
  derived: /^head\.weight$/,
};
