import { describe, expect, it } from 'vitest';
import { aggregate, collectRuns } from '../../src/experiments/report/aggregate.js';
import { CLAIMS, judgeClaims, type JudgedClaim } from '../../src/experiments/report/claims.js';
import { kindOf, sameModel } from '../../src/experiments/report/names.js';
import { constructedRows, type ConstructedRun } from '../support/results.js';

function judge(id: string, runs: readonly ConstructedRun[], trainLength?: number): JudgedClaim {
  const rows = constructedRows(runs);
  const lengths = new Map(trainLength === undefined ? [] : rows.map(({ run }) => [run, trainLength] as const));
  return judgeClaims(aggregate(collectRuns(rows, lengths))).find((claim) => claim.id === id)!;
}

const MIXERS: Readonly<Record<string, readonly string[]>> = {
  'xLSTM[0:1]': ['slstm'],
  'xLSTM[1:0]': ['mlstm'],
  'xLSTM[1:1]': ['mlstm', 'slstm'],
  LSTM: ['lstm'],
  Llama: ['llama'],
  Mamba: ['mamba'],
};

/** One run per model and value. */
const runsOf = (
  task: string,
  metric: string,
  values: Readonly<Record<string, number | readonly number[]>>,
  more: ConstructedRun = {},
): ConstructedRun[] =>
  Object.entries(values).flatMap(([model, list]) =>
    [list].flat().map((value, seed) => ({
      ...{ task, model, mixers: MIXERS[model] ?? ['mlstm'], seed },
      ...more,
      metrics: { 'validation/loss': 1, [metric]: value },
    })),
  );

describe('the claims', () => {
  it('say what they need and by which rule they are judged, each under a name of its own', () => {
    expect(new Set(CLAIMS.map(({ id }) => id)).size).toBe(CLAIMS.length);
    for (const { id, sentence, source, needs, rule } of CLAIMS) {
      expect(sentence, id).toMatch(/^[A-Za-z].*\.$/);
      expect(source, id).toMatch(/section|appendix/);
      expect(needs.length, id).toBeGreaterThan(10);
      expect(rule, id).toMatch(/\d/);
    }
  });

  it('are all untouched by a comparison of nothing, and say what is missing', () => {
    for (const { id, verdict, evidence } of judgeClaims([])) {
      expect(verdict, id).toBe('untouched');
      expect(evidence[0], id).toMatch(/^it needs /);
    }
  });
});

describe('claims of levels', () => {
  const metric = 'test 40-256/scaledAccuracy';
  const parity = (values: Readonly<Record<string, number>>) => judge('parity', runsOf('parity', metric, values));
  const published = { 'xLSTM[0:1]': 1, LSTM: 1, 'xLSTM[1:0]': 0.04, Llama: 0.03, Mamba: 0.13 };

  it('are reproduced by the published numbers', () => {
    const { verdict, evidence } = parity(published);
    expect(verdict).toBe('reproduced');
    expect(evidence).toHaveLength(5);
    expect(evidence[0]).toBe('xLSTM[0:1] (parity, D64x2) has 1.000 (one seed)');
  });

  it('are contradicted by one model on the wrong side, undecided between the margins', () => {
    expect(parity({ ...published, Mamba: 0.97 })).toMatchObject({
      verdict: 'contradicted',
      evidence: expect.arrayContaining(['Mamba (parity, D64x2) has 0.970 (one seed)']) as string[],
    });
    expect(parity({ ...published, LSTM: 0.1 }).verdict).toBe('contradicted');
    expect(parity({ ...published, LSTM: 0.8 }).verdict).toBe('undecided');
    expect(parity({ ...published, LSTM: NaN }).verdict).not.toBe('reproduced');
  });

  it('are untouched without one of the groups, at sizes that differ, or without a test set', () => {
    expect(parity({ 'xLSTM[0:1]': 1, LSTM: 1 }).verdict).toBe('untouched');
    const apart = [
      ...runsOf('parity', metric, { LSTM: 1 }, { size: 'D32x2' }),
      ...runsOf('parity', metric, { Llama: 0 }, { size: 'D64x2' }),
    ];
    expect(judge('parity', apart).verdict).toBe('untouched');
    expect(judge('parity', runsOf('parity', 'validation/scaledAccuracy', published)).verdict).toBe('untouched');
  });

  it('hold at every size, or at one of them where the claim speaks of one', () => {
    const at = (task: string, size: string, values: Readonly<Record<string, number>>) =>
      runsOf(task, 'test 40-256/scaledAccuracy', values, { size });
    const narrow = { LSTM: 1, Llama: 0.9 };
    const sizes = [...at('parity', 'D32', narrow), ...at('parity', 'D64', { LSTM: 1, Llama: 0 })];
    expect(judge('parity', sizes).verdict).toBe('contradicted');
    const recall = (size: string, lstm: number) =>
      runsOf(
        'recall',
        'validation/accuracy',
        { 'xLSTM[1:0]': 1, Llama: 1, LSTM: lstm },
        { size, taskLabel: 'recall (64,4)' },
      );
    const found = judge('recall-64-4', [...recall('D32', 0.2), ...recall('D512', 1)]);
    expect(found).toMatchObject({ verdict: 'reproduced', evidence: { length: 3 } });
    expect(found.evidence[2]).toBe('LSTM (recall (64,4), D32) has 0.200 (one seed)');
    expect(judge('recall-64-4', recall('D512', 1)).verdict).toBe('contradicted');
  });

  it('on recall ask for the length and the pairs', () => {
    const values = { 'xLSTM[1:0]': 0.99, Llama: 1, LSTM: 0.3 };
    const recall = (taskLabel: string) => runsOf('recall', 'validation/accuracy', values, { taskLabel });
    expect(judge('recall-64-4', recall('recall (64,4)')).verdict).toBe('reproduced');
    expect(judge('recall-64-4', recall('recall (64,48)')).verdict).toBe('untouched');
    expect(judge('recall-128-8', recall('recall (128,8)')).verdict).toBe('reproduced');
  });
});

describe('claims of an order', () => {
  const text = (values: Readonly<Record<string, number | readonly number[]>>, more: ConstructedRun = {}) =>
    runsOf('text', 'validation/perplexity', values, more);

  it('are reproduced or contradicted beyond the margin, undecided within it', () => {
    const verdict = (xlstm: number, llama: number) =>
      judge('perplexity-attention', text({ 'xLSTM[1:0]': xlstm, Llama: llama })).verdict;
    expect(verdict(13.43, 14.25)).toBe('reproduced');
    expect(verdict(14.25, 13.43)).toBe('contradicted');
    expect(verdict(14.2, 14.25)).toBe('undecided');
    expect(verdict(14.2, Infinity)).toBe('reproduced');
    expect(verdict(NaN, 14)).toBe('undecided');
  });

  it('are undecided within the noise of the seeds', () => {
    const verdict = (xlstm: number[], llama: number[]) =>
      judge('perplexity-attention', text({ 'xLSTM[1:0]': xlstm, Llama: llama })).verdict;
    expect(verdict([12, 14, 16], [13, 15, 17])).toBe('undecided');
    expect(verdict([13.9, 14, 14.1], [14.9, 15, 15.1])).toBe('reproduced');
  });

  it('need equal parameters and steps', () => {
    const llama = (more: ConstructedRun) => [...text({ 'xLSTM[1:0]': 13 }), ...text({ Llama: 14 }, more)];
    expect(judge('perplexity-attention', llama({ parameters: 95_000 })).verdict).toBe('reproduced');
    expect(judge('perplexity-attention', llama({ parameters: 80_000 })).verdict).toBe('untouched');
    expect(judge('perplexity-attention', llama({ steps: 2000 })).verdict).toBe('untouched');
  });

  it('hold for each pair', () => {
    const { verdict, evidence } = judge(
      'perplexity-attention',
      text({ 'xLSTM[1:0]': 13, 'xLSTM[1:1]': 15, Llama: 14 }),
    );
    expect(verdict).toBe('contradicted');
    expect(evidence).toEqual([
      'xLSTM[1:0] 13.00 (one seed), Llama 14.00 (one seed) (text, D64x2) (reproduced)',
      'xLSTM[1:1] 15.00 (one seed), Llama 14.00 (one seed) (text, D64x2)',
    ]);
  });

  it('take the lower error on nearest-neighbour search, and buckets of frequency on rare tokens', () => {
    const errors = (slstm: number, lstm: number) =>
      judge('nearest-neighbour', runsOf('nearestNeighbour', 'validation/loss', { 'xLSTM[0:1]': slstm, LSTM: lstm }));
    expect(errors(0.01, 0.04).verdict).toBe('reproduced');
    expect(errors(0.05, 0.04).verdict).toBe('contradicted');
    const rare = runsOf('text', 'frequency 0-10/perplexity', { 'xLSTM[1:0]': 400, LSTM: 900 }).map((run) => ({
      ...run,
      metrics: { ...run.metrics, 'frequency 11-100/perplexity': 50 },
    }));
    expect(judge('rare-tokens', rare).verdict).toBe('reproduced');
  });

  it('of a chain hold step by step, and need every step', () => {
    const steps = {
      LSTM: 2417,
      'LSTM + residual backbone': 35.5,
      'LSTM + up-projection backbone': 26,
      'xLSTM[0:1]': 17.7,
      'xLSTM[7:1]': 13.5,
    };
    expect(judge('components', text(steps))).toMatchObject({ verdict: 'reproduced', evidence: { length: 4 } });
    expect(judge('components', text({ ...steps, 'xLSTM[0:1]': 12 })).verdict).toBe('contradicted');
    const { LSTM: _, ...without } = steps;
    expect(judge('components', text(without)).verdict).toBe('untouched');
  });
});

describe('claims of length', () => {
  const byLength = (model: string, near: number, far: number): ConstructedRun => ({
    task: 'text',
    model,
    mixers: MIXERS[model]!,
    metrics: { 'validation/perplexity': near, 'length 256/perplexity': near, 'length 2048/perplexity': far },
  });
  const verdict = (xlstm: number, llama: number, trainLength: number | undefined = 256) =>
    judge('length-extrapolation', [byLength('xLSTM[1:0]', 9, xlstm), byLength('Llama', 9, llama)], trainLength).verdict;

  it('compare the longest with the training length', () => {
    expect(verdict(8.9, 300)).toBe('reproduced');
    expect(verdict(20, 300)).toBe('contradicted');
    expect(verdict(8.9, 9)).toBe('contradicted');
    expect(verdict(10.5, 300)).toBe('undecided');
    expect(verdict(8.9, Infinity)).toBe('reproduced');
  });

  it('are untouched where the training length is not known or not far below', () => {
    const runs = [byLength('xLSTM[1:0]', 9, 9), byLength('Llama', 9, 300)];
    expect(judge('length-extrapolation', runs).verdict).toBe('untouched');
    expect(judge('length-extrapolation', runs, 1024).verdict).toBe('untouched');
  });
});

describe('names', () => {
  it('of models are told by their mixers, and labels by their letters', () => {
    expect(kindOf({ mixers: ['slstm'] })).toBe('sLSTM');
    expect(kindOf({ mixers: ['mlstm', 'slstm'] })).toBe('mixed xLSTM');
    expect(kindOf({ mixers: ['mamba', 'slstm'] })).toBe('other');
    expect(kindOf({ mixers: ['linearAttention'] })).toBe('linear attention');
    expect(sameModel('LSTM (Block)', 'lstm-block')).toBe(true);
    expect(sameModel('xLSTM[1:0]', 'mLSTM')).toBe(true);
    expect(sameModel('xLSTM[1:0]', 'xLSTM[10]')).toBe(false);
    expect(sameModel('LSTM', 'LSTM (Block)')).toBe(false);
  });
});
