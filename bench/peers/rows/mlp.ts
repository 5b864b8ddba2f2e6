/** @file Rows of the yardstick of libraries in JavaScript: a training step of a language model of two layers. */
import path from 'node:path';
import { writeSafetensors } from '../../../src/model/safetensors.js';
import { fold, normal, randomKey, uniform } from '../../../src/tensor/random.js';
import type { Row } from '../row.js';

const KEY = randomKey(7);

/** Inputs [N,D], weights [H,D] and [V,H], targets [N]. */
async function writeMlp(folder: string, N: number, D: number, H: number, V: number): Promise<string> {
  const file = path.join(folder, 'mlp.safetensors');
  const floats = (name: string, rows: number, columns: number, std: number) => {
    const data = Float32Array.from(normal(fold(KEY, name), rows * columns, 0, std));
    return { name, dtype: 'F32', shape: [rows, columns], data } as const;
  };
  const targets = Int32Array.from(uniform(KEY, N, 0, V), Math.floor);
  await writeSafetensors(file, [
    floats('x', N, D, 1),
    floats('w1', H, D, D ** -0.5),
    floats('w2', V, H, H ** -0.5),
    { name: 'targets', dtype: 'I32', shape: [N], data: targets },
  ]);
  return file;
}

const mlpRow = (id: string, [N, D, H, V]: readonly [number, number, number, number], near?: string): Row => ({
  id,
  title: `training step, two layers ${D} -> ${H} -> ${V}, ${N} tokens, cross-entropy, float32, gradient descent`,
  tolerance: 1e-5,
  targets: [
    { ratio: 8, peer: 'jax-js', threads: 1 },
    { ratio: 40, peer: 'tfjs', threads: 1 },
  ],
  ...(near !== undefined && { near }),
  ours: { name: 'xlstm', needs: 'nothing', program: 'ours/mlp.ts' },
  peers: [
    // Without workers, as it runs in Node by itself, one thread is all that it uses.
    { name: 'jax-js', needs: 'npm', program: 'contenders/mlp-jax.mjs', threads: [1] },
    { name: 'jax-js with workers', needs: 'npm', program: 'contenders/mlp-jax.mjs', job: { workers: true } },
    { name: 'tfjs wasm', needs: 'npm', program: 'contenders/mlp-tfjs.mjs' },
  ],
  prepare: async (folder) => ({ weights: await writeMlp(folder, N, D, H, V), learningRate: 0.1 }),
});

export const mlpRows: readonly Row[] = [
  mlpRow('mlp', [2048, 256, 1024, 512]),
  mlpRow('mlp-odd', [2047, 250, 1021, 509], 'mlp'),
];
