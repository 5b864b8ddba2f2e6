/** @file The models that the benches of a GPU take: xLSTM Large of any size. */
import type { ModelConfigInput } from '../../src/model/config.js';
import { presetConfig } from '../../src/model/presets.js';

/** xLSTM Large with these sizes, in the form of xLSTM-7B. */
export const large = (dim: number, blocks: number, heads: number, vocabSize: number): ModelConfigInput => ({
  ...presetConfig('xlstm-large-7b'),
  ...{ dim, blocks: Array<string>(blocks).fill('mlstmLarge'), mlstmLarge: { heads }, vocabSize },
});
