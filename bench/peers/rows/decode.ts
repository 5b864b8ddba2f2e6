/** @file Rows of reading a prompt and of decoding with xLSTM Large, in PyTorch with its native kernels and here. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { writeSafetensors } from '../../../src/model/safetensors.js';
import { randomKey, uniform } from '../../../src/tensor/random.js';
import type { Contender, Row, Target } from '../row.js';

interface Size {
  readonly name: string;
  readonly dim: number;
  readonly blocks: number;
  readonly heads: number;
  readonly vocab: number;
}

export const SMALL: Size = { name: '160 M', dim: 768, blocks: 12, heads: 4, vocab: 50304 };
const LARGE: Size = { name: '1.3 B', dim: 2048, blocks: 24, heads: 4, vocab: 50304 };
const ODD: Size = { name: '160 M of odd sizes', dim: 762, blocks: 12, heads: 3, vocab: 50303 };

const PROMPT = 16;

/** A folder of transformers with random weights in bf16. @throws Error with what the writer said when it fails. */
export function writeLarge(folder: string, { dim, blocks, heads, vocab }: Size): string {
  const out = path.join(folder, 'model');
  const sizes = { dim, blocks, heads, vocab };
  const args = Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'bench/make-large.ts', out, ...args]);
  if (status !== 0) throw new Error(`bench/make-large.ts: ${stderr.toString()}`);
  return out;
}

async function writePrompt(folder: string, length: number, vocab: number): Promise<string> {
  const file = path.join(folder, 'prompt.safetensors');
  const data = Int32Array.from(uniform(randomKey(3), length, 0, vocab), Math.floor);
  await writeSafetensors(file, [{ name: 'tokens', dtype: 'I32', shape: [length], data }]);
  return file;
}

const pytorch = (name: string, job: Readonly<Record<string, unknown>>, tolerance?: number): Contender => ({
  name: `NX-AI xlstm_large, ${name}`,
  needs: 'python',
  program: 'contenders/decode.py',
  job,
  ...(tolerance !== undefined && { tolerance }),
});

/**
 * Of bf16 activations in PyTorch against float32 ones here, and of the coarser matrices on top. In float32 the two agree
 * to 1e-5 with the very same weights, so that these say no more than that the model is the right one: logits that have
 * nothing to do with each other are 1.4 apart, and random weights leave little of themselves in four bits.
 */
const COARSE = { bf16: 0.15, int8: 0.2, int4: 1 } as const;

const STORAGES = {
  float32: {
    ours: 'float32',
    peers: [
      pytorch('eager', { dtype: 'float32' }),
      pytorch('eager, fused matrices', { dtype: 'float32', fused: true }),
    ],
  },
  bf16: {
    ours: 'stored',
    peers: [pytorch('eager, fused matrices, bf16', { dtype: 'bfloat16', fused: true }, COARSE.bf16)],
  },
  // The package has no such storage: its best of the others stands beside it.
  int8: {
    ours: 'int8',
    peers: [pytorch('eager, fused matrices, bf16', { dtype: 'bfloat16', fused: true }, COARSE.int8)],
  },
  int4: {
    ours: 'int4',
    peers: [pytorch('eager, fused matrices, bf16', { dtype: 'bfloat16', fused: true }, COARSE.int4)],
  },
} as const;

type Storage = keyof typeof STORAGES;

interface Decoding {
  readonly id: string;
  readonly size: Size;
  readonly storage: Storage;
  readonly targets?: readonly Target[];
  readonly bandwidth?: number;
  readonly near?: string;
}

const decodingRow = ({ id, size, storage, targets = [], ...rest }: Decoding): Row => ({
  id,
  title: `decoding at batch 1, xLSTM Large, ${size.name}, ${storage}`,
  tolerance: 1e-4,
  targets,
  ...rest,
  ours: { name: 'xlstm', needs: 'nothing', program: 'ours/decode.ts', job: { storage: STORAGES[storage].ours } },
  peers: STORAGES[storage].peers,
  prepare: async (folder) => ({
    folder: writeLarge(folder, size),
    prompt: await writePrompt(folder, PROMPT, size.vocab),
  }),
});

const prefillRow = (id: string, size: Size, tokens: number, near?: string): Row => ({
  id,
  title: `prefill of ${tokens} tokens, xLSTM Large, ${size.name}, float32`,
  tolerance: 1e-4,
  targets: [{ ratio: 1.5 }],
  ...(near !== undefined && { near }),
  ours: { name: 'xlstm', needs: 'nothing', program: 'ours/decode.ts', job: { storage: 'float32', prefill: true } },
  peers: [pytorch('eager', { dtype: 'float32', prefill: true })],
  prepare: async (folder, quick) => ({
    folder: writeLarge(folder, size),
    prompt: await writePrompt(folder, quick ? Math.floor(tokens / 16) : tokens, size.vocab),
  }),
});

const storages = Object.keys(STORAGES) as Storage[];
const THREE = [{ ratio: 3 }];

export const decodingRows: readonly Row[] = [
  ...storages.map((storage) => decodingRow({ id: `decode-${storage}`, size: SMALL, storage, targets: THREE })),
  decodingRow({ id: 'decode-odd', size: ODD, storage: 'float32', targets: THREE, near: 'decode-float32' }),
  ...storages.map((storage) => decodingRow({ id: `decode-1.3b-${storage}`, size: LARGE, storage, bandwidth: 0.85 })),
  prefillRow('prefill', SMALL, 4096),
  prefillRow('prefill-odd', ODD, 4001, 'prefill'),
];
