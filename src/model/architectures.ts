/**
 * @file Published architectures by name: the mixer of their blocks, and the norms, feed-forward layer, biases and initial
 * values that belong around it. Width, depth and vocabulary are the caller's. Whole models are in `presets.ts`.
 */
import { suggestion } from './check-config.js';
import type { ModelConfigInput } from './config.js';

export interface Architecture {
  /** As tables call it. */
  readonly label: string;
  /** The mixers of its blocks, repeated over the depth. */
  readonly pattern: readonly string[];
  /** Fields of the model beside width, depth and vocabulary. */
  readonly model: ModelConfigInput;
}

const SWIGLU = { kind: 'gated', activation: 'silu', factor: 8 / 3, roundTo: 64 } as const;
const MLP = { kind: 'plain', activation: 'gelu', factor: 4, roundTo: 1 } as const;
/** The frame of flash-linear-attention's models: RMS norms, and SwiGLU of 2/3 of `ratio` rounded up to a multiple of 256. */
const fla = (ratio = 4) =>
  ({
    norm: 'rmsnorm',
    normEps: 1e-6,
    feedForward: { ...SWIGLU, factor: (2 / 3) * ratio, roundTo: 256 },
  }) as const satisfies ModelConfigInput;
/** Of a plain pre-norm Transformer. */
const TRANSFORMER = { norm: 'layernormBias', feedForward: MLP, init: 'gpt' } as const satisfies ModelConfigInput;
const RWKV = {
  norm: 'layernormBias',
  embeddingNorm: true,
  feedForward: { factor: 4, roundTo: 1 },
  init: 'rwkv5',
} as const satisfies ModelConfigInput;

const one = (label: string, mixer: string, model: ModelConfigInput = {}): Architecture => ({
  label,
  pattern: [mixer],
  model,
});

export const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  /** Stacked LSTM layers, dense, without residual connections (arXiv 2405.04517: "LSTM"). */
  lstm: one('LSTM', 'lstm', {
    frame: 'stacked',
    lstm: { heads: 1, convKernel: 0, cellNorm: false, recurrentInit: 'standard', biasInit: 'standard' },
  }),
  /** A pre-norm Transformer block with an LSTM layer in place of attention ("LSTM (Block)"). */
  lstmBlock: one('LSTM (Block)', 'lstm', {
    lstm: { heads: 1, convKernel: 0, cellNorm: false, recurrentInit: 'standard', biasInit: 'standard' },
    feedForward: MLP,
  }),
  /** GPT-3: learned positions, layer norms and maps with biases, tied embeddings (arXiv 2005.14165). */
  gpt: one('GPT', 'attention', {
    attention: { positions: 'none' },
    positions: 'learned',
    norm: 'layernormBias',
    bias: true,
    feedForward: { ...MLP, bias: true },
    tieWeights: true,
    init: 'gpt',
  }),
  /** Rotary positions, RMS norms, SwiGLU, no biases (arXiv 2302.13971). */
  llama: one('Llama', 'attention', {
    attention: { positions: 'rotary' },
    norm: 'rmsnorm',
    normEps: 1e-6,
    feedForward: SWIGLU,
    init: 'llama',
  }),
  synthesizer: one('Synthesizer', 'synthesizer', TRANSFORMER),
  linformer: one('Linformer', 'linformer', { ...TRANSFORMER, positions: 'learned' }),
  linearTransformer: one('Linear Transformer', 'linearAttention', { ...TRANSFORMER, positions: 'learned' }),
  performer: one('Performer', 'performer', { ...TRANSFORMER, positions: 'learned' }),
  mamba: one('Mamba', 'mamba', { norm: 'rmsnorm' }),
  mamba2: one('Mamba-2', 'mamba2', { norm: 'rmsnorm' }),
  rwkv4: one('RWKV-4', 'rwkv4', { ...RWKV, init: 'rwkv4' }),
  rwkv5: one('RWKV-5', 'rwkv5', RWKV),
  rwkv6: one('RWKV-6', 'rwkv6', { ...RWKV, feedForward: { factor: 3.5, roundTo: 32 } }),
  rwkv7: one('RWKV-7', 'rwkv7', RWKV),
  retnet: one('RetNet', 'retnet', fla(2)),
  gla: one('GLA', 'gla', fla()),
  hgrn: one('HGRN', 'hgrn', fla()),
  hgrn2: one('HGRN2', 'hgrn2', fla()),
  deltanet: one('DeltaNet', 'deltanet', fla()),
  gatedDeltanet: one('Gated DeltaNet', 'gatedDeltanet', fla()),
  s4: one('S4', 's4'),
  s4d: one('S4D', 's4d'),
  dss: one('DSS', 'dss'),
  bigs: one('BiGS', 'bigs'),
  h3: one('H3', 'h3', { feedForward: MLP }),
  hyena: one('Hyena', 'hyena', { feedForward: MLP }),
};

const RATIO = /^xlstm\[(\d+):(\d+)\]$/i;

/**
 * An architecture by name: one of `ARCHITECTURES`, or "xlstm[a:b]", a mlstm blocks, then b slstm blocks, and so on.
 * @throws RangeError naming the nearest.
 */
export function findArchitecture(name: string): Architecture {
  const known = ARCHITECTURES[name];
  if (known !== undefined) return known;
  const match = RATIO.exec(name);
  const times = (count: string | undefined, mixer: string) => Array.from({ length: Number(count) }, () => mixer);
  const pattern = [...times(match?.[1] ?? '0', 'mlstm'), ...times(match?.[2] ?? '0', 'slstm')];
  if (pattern.length > 0) return { label: `xLSTM[${match![1]}:${match![2]}]`, pattern, model: {} };
  const names = [...Object.keys(ARCHITECTURES), 'xlstm[1:1]'];
  throw new RangeError(`architecture: there is no "${name}"${suggestion(name, names)}`);
}
