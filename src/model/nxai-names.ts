/**
 * @file The names that NX-AI/xlstm gives to the parameters of this library's xLSTM, with the traps of that package
 * (the sLSTM feeds its input gate from the module called "fgate" and the other way round). Names only, no files.
 */

const BLOCK: Readonly<Record<string, string>> = {
  norm: 'xlstm_norm',
  feedForwardNorm: 'ffn_norm',
  'feedForward.gate': 'ffn.proj_up',
  'feedForward.up': 'ffn.proj_up',
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

/** Which half of the rows of the package's tensor a parameter is: its feed-forward layer joins gate and up. */
export const nxaiHalf = (name: string): 0 | 1 | null =>
  name.includes('.feedForward.gate.') ? 0 : name.includes('.feedForward.up.') ? 1 : null;

/**
 * The name in NX-AI/xlstm 2.0 (plain backend) of a parameter of this library.
 * @param mixers  the mixer of each block, "mlstm" or "slstm"
 * @throws RangeError for a name that the package has no counterpart of.
 */
export function nxaiName(name: string, mixers: readonly string[]): string {
  const top = TOP[name];
  if (top !== undefined) return top;
  const match = /^blocks\.(\d+)\.(.+)$/.exec(name);
  const mixer = match === null ? undefined : mixers[Number(match[1])];
  if (match === null || (mixer !== 'mlstm' && mixer !== 'slstm')) {
    throw new RangeError(`nxaiName: NX-AI/xlstm has no parameter like "${name}"`);
  }
  const inner = match[2]!;
  const [table, part] = inner.startsWith('mixer.')
    ? ([mixer === 'mlstm' ? MLSTM : SLSTM, inner.slice('mixer.'.length)] as const)
    : ([BLOCK, inner] as const);
  const prefix = `xlstm_block_stack.blocks.${match[1]}.${inner.startsWith('mixer.') ? 'xlstm.' : ''}`;
  const whole = table[part];
  if (whole !== undefined) return prefix + whole;
  const [, stem, leaf] = /^(.+)\.(weight|bias)$/.exec(part) ?? [];
  const renamed = stem === undefined ? undefined : table[stem];
  if (renamed === undefined) throw new RangeError(`nxaiName: NX-AI/xlstm has no parameter like "${name}"`);
  return `${prefix}${renamed}.${leaf}`;
}
