/**
 * @file The claims of the xLSTM paper (arXiv 2405.04517 v2) that a comparison can reproduce or contradict, as data: a
 * sentence, where it stands, and the rule by which results are judged. The rules themselves are in `judge.ts`. Margins
 * are this project's; the paper has none.
 */
import type { Cell } from './aggregate.js';
import { chain, flatness, levels, order, type Group, type Judgement, type Rule, type Tasks } from './judge.js';
import { parseNumberedSet } from './sets.js';
import { kindOf, plainName, sameModel, type Kind } from './names.js';

export interface Claim extends Rule {
  readonly id: string;
  readonly sentence: string;
  /** Where the paper says it. */
  readonly source: string;
}

// ---- models and tasks ----------------------------------------------------------------------------------------------

const kinds = (name: string, ...wanted: Kind[]): Group => ({ name, has: (cell) => wanted.includes(kindOf(cell)) });

/** A model by its label: for ablations, whose mixers are the same. */
const model = (label: string): Group => ({ name: label, has: ({ model: own }) => sameModel(own, label) });

const task = (title: string, ...names: string[]): Tasks => ({
  name: title,
  has: (cell) => names.some((name) => plainName(name) === plainName(cell.task)),
});

/** Recall of so many pairs in so long a sequence, by the label of the task: "MQAR (64,4)". */
const recall = (length: number, pairs: number): Tasks => ({
  name: `recall (${length},${pairs})`,
  has: ({ task: name, taskLabel }) => name === 'recall' && new RegExp(`\\b${length}\\D+${pairs}\\b`).test(taskLabel),
});

const SLSTM = kinds('sLSTM', 'sLSTM');
const LSTM = kinds('LSTM', 'LSTM');
const MLSTM = kinds('mLSTM', 'mLSTM');
const MATRIX_XLSTM = kinds('xLSTM with matrix memory', 'mLSTM', 'mixed xLSTM');
const ATTENTION = kinds('attention', 'attention');
const MAMBA = kinds('Mamba', 'Mamba');
const RWKV4 = kinds('RWKV-4', 'RWKV-4');
const WITH_MEMORY_MIXING = kinds('models with memory mixing (sLSTM, LSTM)', 'sLSTM', 'LSTM', 'mixed xLSTM');
const WITHOUT_MEMORY_MIXING = kinds(
  'models without (mLSTM, attention, Mamba, linear attention)',
  ...(['mLSTM', 'attention', 'Mamba', 'linear attention'] as const),
);

const RECALL = task('recall', 'recall');
const PARITY = task('parity', 'parity');
const ARITHMETIC = task(
  'modular arithmetic without brackets',
  'modArithmetic',
  'modArithmeticWithoutBrackets',
  'modArithmeticNoBrackets',
);
const EVEN_PAIRS = task('even pairs', 'evenPairs');
const NEAREST_NEIGHBOUR = task('nearest-neighbour search', 'nearestNeighbour');
const TEXT = task('language modelling', 'text');
const LRA = ['retrieval', 'listops', 'pathfinder', 'image'].map((name) => task(name, name));

/** Of ranges of token frequency the one of the rarest tokens. */
const rarest = (sets: readonly string[]): string[] => {
  const ranges = sets.flatMap((set) => parseNumberedSet(set) ?? []).filter(({ what }) => what === 'frequency');
  return ranges
    .toSorted((a, b) => a.end - b.end)
    .slice(0, 1)
    .map(({ set }) => set);
};

// ---- claims --------------------------------------------------------------------------------------------------------

const claim = (id: string, sentence: string, source: string, rule: Rule): Claim => ({ id, sentence, source, ...rule });

const stateTracking: readonly Claim[] = [
  claim(
    'parity',
    'sLSTM and LSTM solve parity beyond the training length; mLSTM, attention, Mamba and linear attention do not.',
    'section 4.1, figure 4',
    levels(PARITY, 'scaledAccuracy', 'test', 'every', [
      { group: WITH_MEMORY_MIXING, least: [0.95, 0.7] },
      { group: WITHOUT_MEMORY_MIXING, most: [0.3, 0.5] },
    ]),
  ),
  claim(
    'modular-arithmetic',
    'Of models without memory mixing none solves modular arithmetic without brackets; sLSTM and LSTM do.',
    'section 4.1, figure 4',
    levels(ARITHMETIC, 'scaledAccuracy', 'test', 'every', [
      { group: kinds('sLSTM and LSTM', 'sLSTM', 'LSTM'), least: [0.7, 0.4] },
      { group: WITHOUT_MEMORY_MIXING, most: [0.3, 0.5] },
    ]),
  ),
  claim(
    'even-pairs',
    'Even pairs, which needs no state tracking, is solved with memory mixing and without.',
    'section 4.1, figure 4',
    levels(EVEN_PAIRS, 'scaledAccuracy', 'test', 'every', [
      { group: WITH_MEMORY_MIXING, least: [0.95, 0.7] },
      { group: WITHOUT_MEMORY_MIXING, least: [0.95, 0.7] },
    ]),
  ),
];

const recallLevels = (length: number, pairs: number): Claim =>
  claim(
    `recall-${length}-${pairs}`,
    `mLSTM and attention recall ${pairs} pairs in ${length} tokens at a width at which LSTM fails.`,
    'section 4.1, figures 5 and 14',
    levels(recall(length, pairs), 'accuracy', 'headline', 'some', [
      { group: MATRIX_XLSTM, least: [0.95, 0.7] },
      { group: ATTENTION, least: [0.95, 0.7] },
      { group: LSTM, most: [0.7, 0.9] },
    ]),
  );

const memory: readonly Claim[] = [
  recallLevels(64, 4),
  recallLevels(128, 8),
  claim(
    'recall-scalar-memory',
    'sLSTM recalls more than LSTM, and less than models with a matrix memory.',
    'appendix B.1.2',
    chain(RECALL, 'accuracy', [LSTM, SLSTM, MATRIX_XLSTM], 0.02),
  ),
  claim(
    'recall-length',
    'Trained at one length, mLSTM and Mamba recall as well in longer sequences.',
    'appendix B.1.2, figure 16',
    flatness({
      tasks: RECALL,
      measure: 'accuracy',
      flat: kinds('xLSTM and Mamba', 'mLSTM', 'mixed xLSTM', 'Mamba'),
    }),
  ),
  claim(
    'nearest-neighbour',
    'sLSTM, which can revise what it stored, ends below the error of LSTM on nearest-neighbour search.',
    'section 1, figure 2 left',
    order({
      tasks: NEAREST_NEIGHBOUR,
      measure: 'loss',
      better: SLSTM,
      worse: LSTM,
      margin: 0.02,
      parameters: Infinity,
    }),
  ),
  claim(
    'rare-tokens',
    'LSTM predicts the rarest tokens worse than mLSTM, whose matrix memory holds more.',
    'section 1, figure 2 right',
    order({
      tasks: TEXT,
      measure: 'perplexity',
      better: MLSTM,
      worse: LSTM,
      margin: 0.02,
      sets: rarest,
    }),
  ),
];

const beats = (opponent: Group, published: string): Claim =>
  claim(
    `perplexity-${plainName(opponent.name)}`,
    `xLSTM has a lower perplexity than ${opponent.name} at equal parameters and tokens (${published}).`,
    'section 4.2, table 1',
    order({ tasks: TEXT, measure: 'perplexity', better: MATRIX_XLSTM, worse: opponent, margin: 0.01 }),
  );

const language: readonly Claim[] = [
  beats(ATTENTION, '13.43 and 13.48 to 14.25'),
  beats(MAMBA, '13.43 and 13.48 to 13.70'),
  beats(RWKV4, '13.43 and 13.48 to 15.62'),
  beats(LSTM, '13.43 and 13.48 to 26.01 in the same kind of block'),
  claim(
    'length-extrapolation',
    'Beyond the training length the perplexity of recurrent models stays low while that of attention grows.',
    'section 4.3, figure 7',
    flatness({
      tasks: TEXT,
      measure: 'perplexity',
      flat: kinds('xLSTM, Mamba and RWKV-4', 'sLSTM', 'mLSTM', 'mixed xLSTM', 'Mamba', 'RWKV-4'),
      steep: ATTENTION,
    }),
  ),
];

/** Labels are those of the experiment `ablations`. */
const ablations: readonly Claim[] = [
  claim(
    'components',
    'Each step from LSTM to xLSTM lowers perplexity: residual backbone, up-projection, exponential gating, matrix memory.',
    'section 4.2, table 2 top',
    chain(
      TEXT,
      'perplexity',
      [
        model('LSTM'),
        model('LSTM + residual backbone'),
        model('LSTM + up-projection backbone'),
        model('xLSTM[0:1]'),
        model('xLSTM[7:1]'),
      ],
      0.01,
    ),
  ),
  claim(
    'exponential-gating',
    'Exponential gating of the input is better than a sigmoid.',
    'section 4.2, table 2 top',
    order({
      tasks: TEXT,
      measure: 'perplexity',
      better: kinds('sLSTM', 'sLSTM'),
      worse: model('LSTM + up-projection backbone'),
      margin: 0.01,
      parameters: Infinity,
    }),
  ),
  claim(
    'learned-gates',
    'The more of the gates is learned the better; the forget gate matters more than the input gate.',
    'section 4.2, table 2 bottom',
    chain(
      TEXT,
      'perplexity',
      [
        model('gates not learned'),
        model('input gate learned'),
        model('forget gate learned'),
        model('both gates learned'),
      ],
      0.003,
    ),
  ),
  claim(
    'convolution',
    'The causal convolution of the block lowers perplexity (15.41 to 13.43).',
    'appendix, table 8',
    order({
      tasks: TEXT,
      measure: 'perplexity',
      better: model('pre-up-projection with conv'),
      worse: model('pre-up-projection without conv'),
      margin: 0.01,
    }),
  ),
  claim(
    'pre-up-projection',
    'Projecting up before the mLSTM is better than a feed-forward layer behind it (13.43 to 13.90).',
    'appendix, table 8',
    order({
      tasks: TEXT,
      measure: 'perplexity',
      better: model('pre-up-projection with conv'),
      worse: model('post-up-projection'),
      margin: 0.01,
    }),
  ),
];

const longRange: readonly Claim[] = LRA.map((tasks) =>
  claim(
    `lra-${plainName(tasks.name)}`,
    `xLSTM is above Llama on ${tasks.name} of Long Range Arena.`,
    'appendix, table 6',
    order({
      tasks,
      measure: 'accuracy',
      better: kinds('xLSTM', 'sLSTM', 'mLSTM', 'mixed xLSTM'),
      worse: ATTENTION,
      margin: 0.01,
      parameters: Infinity,
    }),
  ),
);

export const CLAIMS: readonly Claim[] = [...stateTracking, ...memory, ...language, ...ablations, ...longRange];

export interface JudgedClaim extends Claim, Judgement {}

export const judgeClaims = (cells: readonly Cell[]): JudgedClaim[] =>
  CLAIMS.map((one) => ({ ...one, ...one.judge(cells) }));
