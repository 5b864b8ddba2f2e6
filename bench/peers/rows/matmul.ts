/** @file Rows of matrix products in the shapes of these models, all transposes, against oneDNN, MKL and OpenBLAS. */
import fs from 'node:fs';
import path from 'node:path';
import { writeSafetensors } from '../../../src/model/safetensors.js';
import { normal, randomKey } from '../../../src/tensor/random.js';
import type { Contender, Row, Target } from '../row.js';

type Shape = readonly [M: number, N: number, K: number];

async function writeOperands(folder: string, shapes: readonly Shape[]): Promise<string> {
  const file = path.join(folder, 'operands.safetensors');
  const operand = (name: string, seed: number, length: number) => {
    const data = Float32Array.from(normal(randomKey(seed), length));
    return { name, dtype: 'F32', shape: [length], data } as const;
  };
  const longest = (lengths: readonly number[]) => Math.max(...lengths);
  const a = operand('a', 1, longest(shapes.map(([M, , K]) => M * K)));
  const b = operand('b', 2, longest(shapes.map(([, N, K]) => K * N)));
  await writeSafetensors(file, [a, b]);
  return file;
}

/** OpenBLAS does not know every processor, and then takes kernels for an older one. */
function openblasCores(): (string | null)[] {
  const info = '/proc/cpuinfo';
  const hasAvx512 = fs.existsSync(info) && /\bavx512bw\b/.test(fs.readFileSync(info, 'utf8'));
  return hasAvx512 ? [null, 'SkylakeX'] : [null];
}

const contender = (name: string, library: string, env: Readonly<Record<string, string>> = {}): Contender => ({
  name,
  needs: 'python',
  program: 'contenders/matmul.py',
  job: { library },
  env,
});

const PEERS: readonly Contender[] = [
  contender('oneDNN', 'onednn'),
  contender('MKL (torch.mm)', 'mkl'),
  ...openblasCores().map((core) =>
    core === null
      ? contender('OpenBLAS (numpy)', 'openblas')
      : contender(`OpenBLAS (numpy), for ${core}`, 'openblas', { OPENBLAS_CORETYPE: core }),
  ),
];

const matmulRow = (
  id: string,
  what: string,
  shapes: readonly Shape[],
  targets: readonly Target[],
  near?: string,
): Row => ({
  id,
  title: `matrix product M x N x K, float32, ${what}`,
  tolerance: 3e-6,
  targets,
  ...(near !== undefined && { near }),
  ours: { name: 'xlstm', needs: 'nothing', program: 'ours/matmul.ts' },
  peers: PEERS,
  prepare: async (folder) => ({
    inputs: await writeOperands(folder, shapes),
    cases: shapes.flatMap((shape) => ['NN', 'NT', 'TN', 'TT'].map((transposes) => `${shape.join('x')} ${transposes}`)),
  }),
});

const LARGE: readonly Shape[] = [
  [2048, 768, 768],
  [4096, 1024, 256],
  [2048, 2048, 768],
  [768, 768, 2048],
];
const SMALL: readonly Shape[] = [
  [512, 64, 256],
  [64, 64, 64],
  [2048, 8, 1536],
  [1, 768, 768],
  [1, 4096, 4096],
];

export const matmulRows: readonly Row[] = [
  matmulRow('matmul-large', 'large', LARGE, [{ ratio: 0.95, peer: 'oneDNN' }]),
  matmulRow('matmul-small', 'small or narrow', SMALL, [{ ratio: 0.9, peer: 'oneDNN' }]),
  matmulRow('matmul-odd', 'odd', [[2047, 769, 763]], [{ ratio: 0.95, peer: 'oneDNN' }], 'matmul-large'),
];
