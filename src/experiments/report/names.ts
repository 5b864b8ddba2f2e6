/**
 * @file Which models and tasks of a comparison are those of the paper: by the mixers of the blocks, and by names in which
 * case, blanks and punctuation do not count. It compares no numbers.
 */
import type { Cell } from './aggregate.js';

/** "Mod Arithmetic (w/o brackets)" and "modArithmetic-w/o-brackets" are one name. */
export const plainName = (name: string): string => name.toLowerCase().replace(/[^a-z0-9:]/g, '');

export const sameName = (a: string, b: string): boolean => plainName(a) === plainName(b);

/** Labels under which the paper and others write the same model. */
const SYNONYMS: readonly (readonly string[])[] = [
  ['Llama', 'Transformer (Llama)', 'llama attention'],
  ['GPT-3', 'GPT', 'GPT-2', 'Transformer (GPT)'],
  ['RetNet', 'Retention'],
  ['Linear Transformer', 'linear attention'],
  ['xLSTM[1:0]', 'mLSTM', 'both gates learned', 'pre-up-projection with conv'],
  ['xLSTM[0:1]', 'sLSTM'],
  ['DeltaNet', 'deltaNet'],
  ['LSTM (Block)', 'lstmBlock'],
];

/** Whether two labels name one model. */
export function sameModel(a: string, b: string): boolean {
  if (sameName(a, b)) return true;
  const sets = SYNONYMS.map((names) => names.map(plainName));
  return sets.some((names) => names.includes(plainName(a)) && names.includes(plainName(b)));
}

/** Kinds of models that claims speak of. */
export type Kind =
  | 'sLSTM'
  | 'mLSTM'
  | 'mixed xLSTM'
  | 'LSTM'
  | 'attention'
  | 'Mamba'
  | 'linear attention'
  | 'RWKV-4'
  | 'RWKV-5'
  | 'RWKV-6'
  | 'other';

/** By the one mixer of all blocks. */
const KINDS: readonly (readonly [Kind, readonly string[]])[] = [
  ['sLSTM', ['slstm']],
  ['mLSTM', ['mlstm', 'mlstmlarge']],
  ['LSTM', ['lstm']],
  ['attention', ['attention', 'llama', 'gpt', 'softmaxattention', 'gptattention', 'llamaattention', 'transformer']],
  ['Mamba', ['mamba', 'mamba2']],
  ['linear attention', ['linearattention', 'lineartransformer']],
  ['RWKV-4', ['rwkv4']],
  ['RWKV-5', ['rwkv5']],
  ['RWKV-6', ['rwkv6']],
];

export function kindOf({ mixers }: Pick<Cell, 'mixers'>): Kind {
  const names = mixers.map(plainName);
  if (names.length === 1) return KINDS.find(([, known]) => known.includes(names[0]!))?.[0] ?? 'other';
  const xlstm = names.every((name) => ['slstm', 'mlstm', 'mlstmlarge'].includes(name));
  return xlstm && names.includes('slstm') ? 'mixed xLSTM' : 'other';
}
