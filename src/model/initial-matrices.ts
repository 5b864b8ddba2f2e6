/**
 * @file The initial values that a configuration chooses for all matrices together (`init`); mixers with values of their own
 * keep them.
 */
import { constant, smallInit, wangInit, type Init } from '../layers/parameter.js';
import type { MixerPlace } from '../mixers/mixer.js';
import type { ModelConfig } from './config.js';

/** Initial values of matrices that read the residual stream, and of those that write to it. */
export function initialMatrices({ dim, blocks, init }: ModelConfig): Pick<MixerPlace, 'inputInit' | 'outputInit'> {
  const NB = blocks.length;
  switch (init) {
    case 'gpt':
      return {
        inputInit: { kind: 'normal', std: 0.02 },
        outputInit: { kind: 'normal', std: 0.02 / Math.sqrt(2 * NB) },
      };
    case 'rwkv4':
    case 'rwkv5':
      return { inputInit: { kind: 'orthogonal', gain: 1, tall: init === 'rwkv4' }, outputInit: constant(0) };
    case 'xlstm':
    case 'llama':
      return { inputInit: smallInit(dim), outputInit: wangInit(dim, init === 'llama' ? 2 * NB : NB) };
  }
}

/**
 * Bounds of uniform embeddings in RWKV-LM. That of RWKV-4 is the learning rate there, by default this; later versions have
 * the other one.
 */
const EMBEDDING_BOUND = { rwkv4: 6e-4, rwkv5: 1e-4 } as const;

/** Initial values of a table with one vector of width D per token or position. */
export function embeddingInit({ dim, init }: ModelConfig): Init {
  if (init === 'rwkv4' || init === 'rwkv5') return { kind: 'uniform', bound: EMBEDDING_BOUND[init] };
  return init === 'gpt' ? { kind: 'normal', std: 0.02 } : smallInit(dim);
}

/** Initial values of an output layer that is not the embedding. */
export function headInit(config: ModelConfig): Init {
  const { init } = config;
  return init === 'rwkv4' || init === 'rwkv5' ? { kind: 'orthogonal', gain: 0.5, tall: true } : embeddingInit(config);
}
