/** @file Rows of recurrent layers over a sequence, forward and backward: sLSTM and LSTM, against those of PyTorch. */
import path from 'node:path';
import { writeSafetensors } from '../../../src/model/safetensors.js';
import { fold, normal, randomKey } from '../../../src/tensor/random.js';
import type { Row } from '../row.js';

const KEY = randomKey(11);
const GATES = ['i', 'f', 'z', 'o'];

/** Shapes of what each cell is given, in the order of the file. */
const INPUTS = {
  slstm: (B: number, T: number, D: number) => Object.fromEntries(GATES.map((gate) => [`gate.${gate}`, [B, T, D]])),
  lstm: (B: number, T: number, D: number) => ({
    x: [B, T, D],
    ...Object.fromEntries(GATES.map((gate) => [`weight.${gate}`, [D, D]])),
  }),
} as const;

type Sizes = readonly [B: number, T: number, NH: number, DH: number];

async function writeInputs(folder: string, cell: 'slstm' | 'lstm', [B, T, NH, DH]: Sizes): Promise<string> {
  const D = NH * DH;
  const shapes = { ...INPUTS[cell](B, T, D), recurrent: [NH, 4 * DH, DH], bias: [4 * D], dy: [B, T, D] };
  const file = path.join(folder, 'inputs.safetensors');
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    // Matrices keep a vector's size about as it is.
    const std = shape.length === 3 && name !== 'recurrent' ? 1 : name === 'bias' ? 0.5 : shape.at(-1)! ** -0.5;
    return { name, dtype: 'F32', shape, data: Float32Array.from(normal(fold(KEY, name), length, 0, std)) } as const;
  });
  await writeSafetensors(file, tensors);
  return file;
}

const slstmRow = (id: string, sizes: Sizes, near?: string): Row => ({
  id,
  title: `sLSTM forward and backward, B${sizes[0]} T${sizes[1]}, ${sizes[2]} heads of ${sizes[3]}, float32`,
  tolerance: 1e-4,
  targets: [{ ratio: 20 }],
  ...(near !== undefined && { near }),
  ours: { name: 'xlstm', needs: 'nothing', program: 'ours/recurrent.ts', job: { cell: 'slstm' } },
  peers: [{ name: 'NX-AI vanilla cell', needs: 'python', program: 'contenders/recurrent.py', job: { cell: 'slstm' } }],
  prepare: async (folder) => ({ inputs: await writeInputs(folder, 'slstm', sizes) }),
});

/** The nearest fused layer of PyTorch, at the same width: dense, and with its input matrix. */
const lstmRow = (id: string, sizes: Sizes): Row => ({
  id,
  title: `LSTM forward and backward, B${sizes[0]} T${sizes[1]}, ${sizes[3]} -> ${sizes[3]}, dense, float32`,
  tolerance: 1e-4,
  targets: [{ ratio: 1.2 }],
  ours: { name: 'xlstm', needs: 'nothing', program: 'ours/recurrent.ts', job: { cell: 'lstm' } },
  peers: [{ name: 'torch.nn.LSTM', needs: 'python', program: 'contenders/recurrent.py', job: { cell: 'lstm' } }],
  prepare: async (folder) => ({ inputs: await writeInputs(folder, 'lstm', sizes) }),
});

export const recurrentRows: readonly Row[] = [
  slstmRow('slstm-64', [8, 512, 4, 64]),
  slstmRow('slstm-128', [8, 512, 4, 128]),
  slstmRow('slstm-odd', [7, 509, 3, 61], 'slstm-64'),
  lstmRow('lstm-256', [8, 512, 1, 256]),
  lstmRow('lstm-512', [8, 512, 1, 512]),
];
