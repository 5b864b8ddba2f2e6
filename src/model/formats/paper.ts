/**
 * @file The paper's architecture as the package NX-AI/xlstm 2.0 writes it ("nxai"): fields of its configuration, names of
 * its tensors, and its traps. The gates of the sLSTM are swapped by name (the input gate is fed from the module "fgate",
 * blocks/slstm/layer.py), and its two backends store recurrent matrices and biases in two layouts (blocks/slstm/cell.py).
 */
import * as z from 'zod';
import type { ParameterTable } from '../../layers/parameter.js';
import { checkConfig } from '../check-config.js';
import { modelConfigSchema, type ModelConfig } from '../config.js';
import { notPublishedFrame, type ForeignTensor } from './foreign.js';

/** Which backend of the package wrote the sLSTM parameters. */
export type SlstmBackend = 'vanilla' | 'cuda';

const count = () => z.number().int().min(1);
const rate = () => z.number().min(0).max(0.99);
/** Set by the package itself, from fields above. */
const derived = () => z.unknown().optional();

const ROUNDING = {
  round_proj_up_dim_up: z.literal(true, 'widths must be rounded up').default(true),
  round_proj_up_to_multiple_of: z.literal(64, 'widths must be rounded to multiples of 64').default(64),
  _proj_up_dim: derived(),
} as const;

const mlstmSchema = z.strictObject({
  conv1d_kernel_size: count().default(4),
  qkv_proj_blocksize: count().default(4),
  num_heads: count().default(4),
  proj_factor: z.number().positive().default(2),
  ...ROUNDING,
  embedding_dim: derived(),
  bias: derived(),
  dropout: derived(),
  context_length: derived(),
  _num_blocks: derived(),
  _inner_embedding_dim: derived(),
});

/** Fields of the cell that change how it is computed or trained, but none of its numbers. */
const CELL_HARMLESS = Object.fromEntries(
  ['gradient_recurrent_cut', 'gradient_recurrent_clipval', 'batch_size', 'input_shape', 'internal_input_shape']
    .concat(
      ['output_shape', 'constants', 'dtype', 'dtype_b', 'dtype_r', 'dtype_w', 'dtype_g', 'dtype_s', 'dtype_a'],
      ['enable_automatic_mixed_precision', '_block_idx', '_num_blocks', 'hidden_size', 'embedding_dim', 'dropout'],
    )
    .map((name) => [name, derived()]),
);

const slstmSchema = z.strictObject({
  num_heads: count().default(4),
  conv1d_kernel_size: z.number().int().min(0).default(4),
  group_norm_weight: z.literal(true, 'the norm behind the cell must have a weight').default(true),
  backend: z.enum(['vanilla', 'cuda']).optional(),
  function: z.enum(['slstm', 'lstm']).default('slstm'),
  bias_init: z.enum(['powerlaw_blockdependent', 'small_init', 'standard', 'zeros']).default('powerlaw_blockdependent'),
  recurrent_weight_init: z.enum(['zeros', 'standard']).default('zeros'),
  num_states: z.number().int().optional(),
  num_gates: z.literal(4, 'the cell must have four gates').default(4),
  forward_clipval: z.null('outputs of the cell must not be clipped').default(null),
  initial_val: z.literal(0, 'states must start at 0').default(0),
  ...CELL_HARMLESS,
});

const feedForwardSchema = z.strictObject({
  proj_factor: z.number().positive().default(1.3),
  act_fn: z.enum(['gelu', 'relu', 'sigmoid', 'swish']).default('gelu'),
  bias: z.literal(false, 'feed-forward layers must have no bias').default(false),
  ff_type: z.literal('ffn_gated').default('ffn_gated'),
  ...ROUNDING,
  embedding_dim: derived(),
  dropout: derived(),
  _num_blocks: derived(),
});

const schema = z.strictObject({
  vocab_size: count(),
  embedding_dim: count(),
  num_blocks: count(),
  context_length: derived(),
  tie_weights: z.boolean().default(false),
  bias: z.boolean().default(false),
  dropout: rate().default(0),
  add_post_blocks_norm: z.boolean().default(true),
  add_embedding_dropout: derived(),
  weight_decay_on_embedding: derived(),
  slstm_at: z.union([z.literal('all'), z.array(z.number().int().min(0))]).default([]),
  mlstm_block: z
    .strictObject({ mlstm: mlstmSchema.prefault({}), _num_blocks: derived(), _block_idx: derived() })
    .nullable()
    .optional(),
  slstm_block: z
    .strictObject({
      slstm: slstmSchema.prefault({}),
      feedforward: feedForwardSchema.prefault({}),
      _num_blocks: derived(),
      _block_idx: derived(),
    })
    .nullable()
    .optional(),
  _block_map: derived(),
});

const BIAS_INIT = {
  powerlaw_blockdependent: 'powerlaw',
  small_init: 'small',
  standard: 'standard',
  zeros: 'zeros',
} as const;
const ACTIVATION = { gelu: 'gelu', relu: 'relu', sigmoid: 'sigmoid', swish: 'silu' } as const;

const inverted = <A extends string, B extends string>(table: Readonly<Record<A, B>>, value: string): A | undefined =>
  (Object.keys(table) as A[]).find((key) => table[key] === value);

export interface PaperModel {
  readonly config: ModelConfig;
  /** The backend that the configuration names; null where it names none. */
  readonly backend: SlstmBackend | null;
}

/**
 * The configuration of the package in this library's terms.
 * @throws ConfigError naming each field that is wrong, unknown, or asks for what this library does not compute.
 */
export function readPaperConfig(value: unknown, what: string): PaperModel {
  const fields = checkConfig(schema, value, what);
  const { num_blocks: blocks, mlstm_block, slstm_block } = fields;
  const at = mlstm_block === null || mlstm_block === undefined ? 'all' : fields.slstm_at;
  const beyond = at === 'all' ? undefined : at.find((block) => block >= blocks);
  if (beyond !== undefined) throw new Error(`${what}: slstm_at: there is no block ${beyond} of ${blocks}`);
  const mlstm = mlstm_block?.mlstm ?? mlstmSchema.parse({});
  const slstm = slstm_block?.slstm ?? slstmSchema.parse({});
  const feedForward = slstm_block?.feedforward ?? feedForwardSchema.parse({});
  const recurrent = {
    heads: slstm.num_heads,
    convKernel: slstm.conv1d_kernel_size,
    recurrentInit: slstm.recurrent_weight_init,
    biasInit: BIAS_INIT[slstm.bias_init],
  };
  const config = modelConfigSchema.parse({
    vocabSize: fields.vocab_size,
    dim: fields.embedding_dim,
    blocks: Array.from({ length: blocks }, (_, k) => (at === 'all' || at.includes(k) ? slstm.function : 'mlstm')),
    mlstm: {
      heads: mlstm.num_heads,
      convKernel: mlstm.conv1d_kernel_size,
      qkvBlockSize: mlstm.qkv_proj_blocksize,
      projectionFactor: mlstm.proj_factor,
    },
    [slstm.function]: recurrent,
    feedForward: { factor: feedForward.proj_factor, activation: ACTIVATION[feedForward.act_fn] },
    tieWeights: fields.tie_weights,
    bias: fields.bias,
    dropout: fields.dropout,
    outputNorm: fields.add_post_blocks_norm,
  });
  return { config, backend: slstm.backend ?? null };
}

/**
 * The package's configuration of a model.
 * @throws Error for a model of another architecture, naming what does not fit.
 */
export function writePaperConfig(config: ModelConfig): Record<string, unknown> {
  const problem = notPaper(config);
  if (problem !== null) throw new Error(`convert: nxai cannot hold this model: ${problem}`);
  const { blocks, mlstm, feedForward } = config;
  const kind = blocks.includes('lstm') ? 'lstm' : 'slstm';
  const recurrent = config[kind];
  const slstmAt = blocks.flatMap((block, k) => (block === kind ? [k] : []));
  return {
    vocab_size: config.vocabSize,
    embedding_dim: config.dim,
    num_blocks: blocks.length,
    context_length: 2048,
    tie_weights: config.tieWeights,
    bias: config.bias,
    dropout: config.dropout,
    add_post_blocks_norm: config.outputNorm,
    slstm_at: slstmAt.length === blocks.length ? 'all' : slstmAt,
    mlstm_block: {
      mlstm: {
        conv1d_kernel_size: mlstm.convKernel,
        qkv_proj_blocksize: mlstm.qkvBlockSize,
        num_heads: mlstm.heads,
        proj_factor: mlstm.projectionFactor,
      },
    },
    slstm_block: {
      slstm: {
        num_heads: recurrent.heads,
        conv1d_kernel_size: recurrent.convKernel,
        bias_init: inverted(BIAS_INIT, recurrent.biasInit),
        recurrent_weight_init: recurrent.recurrentInit,
        function: kind,
        ...(kind === 'lstm' ? { num_states: 2 } : {}),
        backend: 'vanilla',
      },
      feedforward: { proj_factor: feedForward.factor, act_fn: inverted(ACTIVATION, feedForward.activation) },
    },
  };
}

const isPublishedMlstm = ({ upProjection, convKernel, inputGateFrom, forgetGateFrom }: ModelConfig['mlstm']): boolean =>
  upProjection && convKernel > 0 && inputGateFrom === 'input' && forgetGateFrom === 'input';

/** Why the package cannot hold a model, or null. */
function notPaper(config: ModelConfig): string | null {
  const { blocks, mlstm, feedForward } = config;
  const stranger = blocks.find((kind) => !['mlstm', 'slstm', 'lstm'].includes(kind));
  if (stranger !== undefined) return `it has ${stranger} blocks`;
  if (blocks.includes('slstm') && blocks.includes('lstm'))
    return 'it has slstm and lstm blocks, the package one of them';
  const frame = notPublishedFrame(config);
  if (frame !== null) return frame;
  if (config.norm !== 'layernorm' || config.normEps !== 1e-5) return 'its norm is not a layer norm with eps 1e-5';
  if (config.logitSoftCap !== 0) return 'its logits are capped';
  if (blocks.includes('mlstm') && (mlstm.inputGate !== 'exponential' || !mlstm.normalize)) {
    return 'its mLSTM has another input gate, or no normaliser';
  }
  if (blocks.includes('mlstm') && !isPublishedMlstm(mlstm))
    return 'its mLSTM has no up-projection, convolution or learned gate';
  if (['slstm', 'lstm'].some((kind) => blocks.includes(kind) && !config[kind as 'slstm' | 'lstm'].cellNorm)) {
    return 'its cells have no norm behind them';
  }
  if (['slstm', 'lstm'].some((kind) => blocks.includes(kind) && config[kind as 'slstm' | 'lstm'].denseGates)) {
    return 'its gates see more than their head';
  }
  const hasFeedForward = blocks.some((kind) => kind !== 'mlstm');
  if (hasFeedForward && (feedForward.roundTo !== 64 || inverted(ACTIVATION, feedForward.activation) === undefined)) {
    return `its feed-forward layers are rounded to ${feedForward.roundTo} or have the activation ${feedForward.activation}`;
  }
  return null;
}

const BLOCK: Readonly<Record<string, string>> = {
  norm: 'xlstm_norm',
  feedForwardNorm: 'ffn_norm',
  'feedForward.down': 'ffn.proj_down',
};

const MLSTM: Readonly<Record<string, string>> = {
  up: 'proj_up',
  down: 'proj_down',
  conv: 'conv1d.conv',
  q: 'q_proj',
  k: 'k_proj',
  v: 'v_proj',
  igate: 'mlstm_cell.igate',
  fgate: 'mlstm_cell.fgate',
  cellNorm: 'mlstm_cell.outnorm',
  skip: 'learnable_skip',
};

const SLSTM: Readonly<Record<string, string>> = {
  conv: 'conv1d.conv',
  igate: 'fgate',
  fgate: 'igate',
  zgate: 'zgate',
  ogate: 'ogate',
  cellNorm: 'group_norm',
  recurrent: 'slstm_cell._recurrent_kernel_',
  bias: 'slstm_cell._bias_',
};

const TOP: Readonly<Record<string, string>> = {
  'embedding.weight': 'token_embedding.weight',
  'norm.weight': 'xlstm_block_stack.post_blocks_norm.weight',
  'head.weight': 'lm_head.weight',
};

/** Name of the package's tensor that is one parameter. */
function nameOf(parameter: string, blocks: readonly string[]): string {
  const top = TOP[parameter];
  if (top !== undefined) return top;
  const [, block, inner] = /^blocks\.(\d+)\.(.+)$/.exec(parameter)!;
  const isMixer = inner!.startsWith('mixer.');
  const table = isMixer ? (blocks[Number(block)] === 'mlstm' ? MLSTM : SLSTM) : BLOCK;
  const part = isMixer ? inner!.slice('mixer.'.length) : inner!;
  const prefix = `xlstm_block_stack.blocks.${block}.${isMixer ? 'xlstm.' : ''}`;
  const [, stem, leaf] = /^(.+)\.(weight|bias)$/.exec(part) ?? [null, part, null];
  return leaf === null ? prefix + table[stem] : `${prefix}${table[stem]}.${leaf}`;
}

/** The tensors of a model in the package's file. */
export function paperTensors(
  { blocks, slstm, lstm }: ModelConfig,
  table: ParameterTable,
  backend: SlstmBackend,
): ForeignTensor[] {
  return Object.entries(table).flatMap(([parameter, { shape }]): ForeignTensor[] => {
    const [, block, inner] = /^blocks\.(\d+)\.(.+)$/.exec(parameter) ?? [null, '', ''];
    const prefix = `xlstm_block_stack.blocks.${block}.`;
    if (inner === 'feedForward.up.weight') return []; // joined to the gate
    if (inner === 'feedForward.gate.weight') {
      const parts = [parameter, `blocks.${block}.feedForward.up.weight`];
      return [{ name: `${prefix}ffn.proj_up.weight`, shape: [2 * shape[0]!, shape[1]!], parts }];
    }
    const tensor = { name: nameOf(parameter, blocks), shape, parts: [parameter] };
    if (inner === 'mixer.conv.weight') return [{ ...tensor, shape: [shape[0]!, 1, shape[1]!] }];
    const recurrent = { slstm, lstm }[blocks[Number(block)] ?? ''];
    if (backend !== 'cuda' || recurrent === undefined) return [tensor];
    const NH = recurrent.heads;
    if (inner === 'mixer.recurrent') {
      const [, rows, columns] = shape as [number, number, number];
      // [NH, DH of the input, 4 DH] instead of [NH, 4 DH, DH of the input].
      return [{ ...tensor, shape: [NH, columns, rows], transposed: { from: [NH, columns, rows], axes: [0, 2, 1] } }];
    }
    if (inner === 'mixer.bias') {
      // Head by head instead of gate by gate.
      return [{ ...tensor, transposed: { from: [NH, 4, shape[0]! / (4 * NH)], axes: [1, 0, 2] } }];
    }
    return [tensor];
  });
}

/**
 * The backend whose layout a file has, from the shapes of its recurrent matrices: [NH, 4 DH, DH] is the plain one's,
 * [NH, DH, 4 DH] the CUDA one's. The biases do not tell.
 * @param shapes  of the recurrent matrices
 * @returns       null where they do not tell either
 */
export function backendOfShapes(shapes: readonly (readonly number[])[]): SlstmBackend | null {
  const kinds = new Set(
    shapes.map((shape) => {
      const [, rows = 0, columns = 0] = shape;
      if (shape.length !== 3) return null;
      return rows === 4 * columns ? 'vanilla' : columns === 4 * rows ? 'cuda' : null;
    }),
  );
  return kinds.size === 1 ? [...kinds][0]! : null;
}

/** The names of recurrent matrices in a file of the package end so. */
export const RECURRENT_SUFFIX = '.slstm_cell._recurrent_kernel_';
