/** @file Rows of training steps: the paper's xLSTM, xLSTM Large, and a Transformer like Llama, in PyTorch and here. */
import { feedForwardWidth } from '../../../src/layers/feed-forward.js';
import type { ModelConfigInput } from '../../../src/model/config.js';
import { ARCHITECTURES } from '../../../src/model/architectures.js';
import { presetConfig } from '../../../src/model/presets.js';
import type { Contender, Row } from '../row.js';
import { writeBatch, writeModel } from './model-folder.js';

interface Training {
  readonly id: string;
  readonly title: string;
  readonly target: number;
  readonly near?: string;
  readonly B: number;
  readonly T: number;
  readonly config: ModelConfigInput & { readonly vocabSize: number };
  readonly layout: 'hf' | 'nxai';
  readonly peer: string;
  /** Further fields of the peer's job. */
  readonly job: Readonly<Record<string, unknown>>;
}

const LEARNING_RATE = 1e-3;

function trainingRow({ id, title, target, near, B, T, config, layout, peer, job }: Training): Row {
  const contender = (how: string, more: Readonly<Record<string, unknown>>): Contender => ({
    name: `${peer}, ${how}`,
    needs: 'python',
    program: 'contenders/train.py',
    job: { ...job, ...more },
  });
  return {
    id,
    title: `${title}, B${B} T${T} V${config.vocabSize}, float32, AdamW`,
    // Three losses and gradient norms, the second and third behind updates.
    tolerance: 1e-4,
    targets: [{ ratio: target }],
    ...(near !== undefined && { near }),
    ours: { name: 'xlstm', needs: 'nothing', program: 'ours/train.ts' },
    peers: [contender('eager', {}), contender('compiled', { compile: true })],
    prepare: async (folder) => ({
      folder: await writeModel(folder, config, layout),
      batch: await writeBatch(folder, B, T, config.vocabSize),
      learningRate: LEARNING_RATE,
    }),
  };
}

const repeated = <Mixer extends string>(pattern: readonly Mixer[], count: number): Mixer[] =>
  Array.from({ length: count }, (_, k) => pattern[k % pattern.length]!);

const paper = (vocabSize: number, dim: number, heads: number) => {
  const blocks = repeated(['mlstm', 'slstm'], 4);
  return { vocabSize, dim, blocks, mlstm: { heads }, slstm: { heads, recurrentInit: 'standard' } } as const;
};

const large = (vocabSize: number, dim: number, heads: number) =>
  ({
    ...presetConfig('xlstm-large-tiny'),
    ...{ vocabSize, dim, blocks: repeated(['mlstmLarge'], 4), mlstmLarge: { heads } },
  }) as const;

function llama(vocabSize: number, dim: number, heads: number) {
  const { model } = ARCHITECTURES['llama']!;
  const attention = { heads, positions: 'rotary' } as const;
  return { ...model, vocabSize, dim, blocks: repeated(['attention'], 4), attention };
}

const NXAI = { layout: 'nxai', peer: 'NX-AI xlstm', job: { package: 'xlstm' } } as const;
const LARGE = {
  layout: 'hf',
  peer: 'NX-AI xlstm_large, native chunkwise',
  job: { package: 'xlstm', large: true },
} as const;
const LLAMA = { layout: 'hf', peer: 'transformers LlamaForCausalLM', job: { package: 'transformers' } } as const;

/** Width of the Llama's feed-forward layer, for its title. */
const width = (dim: number): number => feedForwardWidth(dim, 8 / 3, 64);

export const trainingRows: readonly Row[] = [
  trainingRow({
    ...{ id: 'train-xlstm', title: 'training step, xLSTM[1:1], D 256, 4 blocks, 4 heads', target: 3 },
    ...{ B: 8, T: 256, config: paper(512, 256, 4), ...NXAI },
  }),
  trainingRow({
    ...{ id: 'train-xlstm-odd', title: 'training step, xLSTM[1:1], D 276, 4 blocks, 3 heads', target: 3 },
    ...{ near: 'train-xlstm', B: 7, T: 257, config: paper(509, 276, 3), ...NXAI },
  }),
  trainingRow({
    ...{ id: 'train-large', title: 'training step, xLSTM Large, D 256, 4 blocks, 4 heads', target: 2 },
    ...{ B: 8, T: 512, config: large(512, 256, 4), ...LARGE },
  }),
  trainingRow({
    ...{ id: 'train-large-odd', title: 'training step, xLSTM Large, D 258, 4 blocks, 3 heads', target: 2 },
    ...{ near: 'train-large', B: 7, T: 509, config: large(509, 258, 3), ...LARGE, job: { ...LARGE.job, padded: true } },
  }),
  trainingRow({
    ...{ id: 'train-llama', title: `training step, Llama, D 256 and ${width(256)}, 4 blocks, 4 heads`, target: 1.2 },
    ...{ B: 8, T: 512, config: llama(512, 256, 4), ...LLAMA },
  }),
  trainingRow({
    ...{
      id: 'train-llama-odd',
      title: `training step, Llama, D 258 and ${width(258)}, 4 blocks, 3 heads`,
      target: 1.2,
    },
    ...{ near: 'train-llama', B: 7, T: 509, config: llama(509, 258, 3), ...LLAMA },
  }),
];
