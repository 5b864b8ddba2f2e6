/** @file Rows of results.csv for tests of the report: constructed, not measured. */
import type { ResultRow } from '../../src/experiments/results-csv.js';

/** What sets a run apart; the rest is filled in. Without metrics it is a run that failed. */
export interface ConstructedRun {
  readonly task?: string;
  readonly taskLabel?: string;
  readonly model?: string;
  readonly mixers?: readonly string[];
  readonly size?: string;
  readonly dim?: number;
  readonly parameters?: number;
  readonly stateBytes?: number;
  readonly flopsPerToken?: number;
  readonly learningRate?: number;
  readonly seed?: number;
  readonly steps?: number;
  readonly seconds?: number;
  readonly reason?: string;
  readonly metrics?: Readonly<Record<string, number>>;
}

export function constructedRows(runs: readonly ConstructedRun[]): ResultRow[] {
  return runs.flatMap(({ metrics, ...given }): ResultRow[] => {
    const { task = 'parity', model = 'sLSTM', size = 'D64x2', learningRate = 1e-3, seed = 0 } = given;
    const facts = {
      run: [given.taskLabel ?? task, model, size, learningRate, seed].join('-'),
      status: metrics === undefined ? ('failed' as const) : ('done' as const),
      reason: given.reason ?? (metrics === undefined ? 'the loss was not finite at step 3' : ''),
      task,
      taskLabel: given.taskLabel ?? task,
      model,
      mixers: given.mixers ?? ['slstm'],
      size,
      dim: given.dim ?? 64,
      blocks: 2,
      parameters: given.parameters ?? 100_000,
      stateBytes: given.stateBytes ?? 4096,
      flopsPerToken: given.flopsPerToken ?? 200_000,
      learningRate,
      seed,
      steps: given.steps ?? 1000,
      batchSize: 32,
      seconds: given.seconds ?? 30,
      tokensPerSecond: 10_000,
      finalTrainLoss: 0.1,
    };
    if (metrics === undefined) return [{ ...facts, set: '', measure: '', value: null }];
    return Object.entries(metrics).map(([name, value]) => {
      const slash = name.lastIndexOf('/');
      return { ...facts, set: name.slice(0, slash), measure: name.slice(slash + 1), value };
    });
  });
}
