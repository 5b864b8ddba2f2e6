/** @file From compare.yaml to runs: what is expanded, in which order, under which names; equal numbers of parameters; wrong files. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resolveCompareConfig } from '../../src/experiments/compare-config.js';
import { matchWidth } from '../../src/experiments/match-width.js';
import { planRuns, type PlanTools } from '../../src/experiments/plan.js';
import { runSpecSchema, specHash, type RunSpec } from '../../src/experiments/run-spec.js';
import { countParameters } from '../../src/layers/parameter.js';
import { parameterTable } from '../../src/model/language-model.js';
import { findMixer, registerMixer } from '../../src/mixers/registry.js';

const tools: PlanTools = {
  taskOptions: (name, preset, options) => {
    if (name === 'absent') throw new RangeError('there is no task "absent"');
    return { vocabSize: 16, ...(preset === 'paper' ? { maxLength: 40 } : { maxLength: 10 }), ...options };
  },
  longestSequence: () => 77,
  countParameters: (model, task) =>
    countParameters(parameterTable({ ...model, vocabSize: task.options['vocabSize'] as number })),
  mixerFiles: new Map([['./mine.ts', { file: '/mixers/mine.ts', sha256: '0'.repeat(64), mixer: 'mine' }]]),
};

/** The mixer with its defaults; "lstm" alone is an architecture. */
const LSTM = { mixer: 'lstm' };

const plan = (config: object, some: Partial<PlanTools> = {}): RunSpec[] =>
  planRuns(
    resolveCompareConfig({ tasks: ['parity'], models: [LSTM], sizes: [{ dim: 16 }], ...config }, 'formal.yaml'),
    { ...tools, ...some },
  );

const parametersOf = ({ model, task }: RunSpec): number => tools.countParameters(model, task);

describe('a plan', () => {
  it('has every task with every model, size, rate and seed, the first seed first', () => {
    const runs = plan({
      tasks: ['parity', { name: 'mqar', label: 'MQAR (64, 4)', preset: 'paper', options: { pairs: 4 } }],
      models: ['xlstm[1:1]', { label: 'LSTM', mixer: 'lstm' }],
      sizes: [{ dim: 16 }, { dim: 32, blocks: 3, heads: 2, label: 'large' }],
      learningRates: [1e-2, 1e-3],
      seeds: [7, 8],
    });
    expect(runs).toHaveLength(2 * 2 * 2 * 2 * 2);
    expect(runs.slice(0, 16).every(({ seed }) => seed === 7)).toBe(true);
    expect(new Set(runs.map(({ name }) => name)).size).toBe(32);
    for (const run of runs) expect(runSpecSchema.parse(run)).toEqual(run);
    const last = runs.at(-1)!;
    expect(last).toMatchObject({
      task: { name: 'mqar', label: 'MQAR (64, 4)', options: { vocabSize: 16, maxLength: 40, pairs: 4 } },
      label: 'LSTM',
      mixers: ['lstm'],
      size: 'large',
      model: { dim: 32, blocks: ['lstm', 'lstm', 'lstm'], lstm: { heads: 2, convKernel: 4 } },
      training: { learningRate: 1e-3, steps: 1000, warmupSteps: 100, finalRatio: 0.1, evalEvery: 100 },
      seed: 8,
    });
    expect(last.model).not.toHaveProperty('mlstm');
    expect(last.model).not.toHaveProperty('vocabSize');
    expect(runs[0]).toMatchObject({ label: 'xLSTM[1:1]', mixers: ['mlstm', 'slstm'], size: 'D16x2' });
  });

  it('names runs so that a folder of any system can be called so, and stably', () => {
    const [run] = plan({ tasks: [{ name: 'mqar', label: 'MQAR (64, 4): a/b' }], models: ['xlstm[1:1]'] });
    expect(run!.name).toMatch(/^MQAR-64-4-a-b-xLSTM-1-1-D16x2-lr0\.001-s0-[0-9a-f]{10}$/);
    expect(plan({ models: [{ mixer: 'lstm', label: 'x'.repeat(300) }] })[0]!.name.length).toBeLessThan(100);
    const hash = (config: object) => specHash(plan(config)[0]!);
    // What things are called, how many threads, and the order of fields do not matter; what is computed does.
    expect(hash({ models: [{ mixer: 'lstm', label: 'other' }], jobs: 2, device: { threads: 3 } })).toBe(hash({}));
    expect(hash({ tasks: [{ name: 'parity', options: { a: 1, b: 2 } }] })).toBe(
      hash({ tasks: [{ name: 'parity', options: { b: 2, a: 1 } }] }),
    );
    const different = [
      {},
      { seeds: [1] },
      { learningRates: [1e-4] },
      { training: { steps: 10 } },
      { sizes: [{ dim: 32 }] },
      { sizes: [{ dim: 16, heads: 2 }] },
      { models: ['slstm'] },
      { tasks: ['even-pairs'] },
      { tasks: [{ name: 'parity', preset: 'paper' }] },
      { device: { name: 'reference' } },
    ];
    expect(new Set(different.map(hash)).size).toBe(different.length);
  });

  it('lets tasks, sizes and models differ in their training, the narrower scope over the wider', () => {
    const training = (config: object) => plan(config)[0]!.training;
    const scopes = {
      tasks: [{ name: 'parity', training: { steps: 200, batchSize: 2 } }],
      sizes: [{ dim: 16, training: { batchSize: 3, beta2: 0.9 } }],
      models: [{ mixer: 'lstm', training: { beta2: 0.8 }, learningRates: [0.5, 0.25] }],
      training: { steps: 100, batchSize: 1, beta2: 0.7, weightDecay: 0, warmupSteps: 5, evaluations: 7 },
      learningRates: [1],
    };
    expect(training(scopes)).toMatchObject({
      steps: 200,
      batchSize: 3,
      beta2: 0.8,
      weightDecay: 0,
      warmupSteps: 5,
      evalEvery: 29,
    });
    expect(plan(scopes).map(({ training: { learningRate } }) => learningRate)).toEqual([0.5, 0.25]);
    // Of two ways to say it, the narrower scope's counts.
    const fraction = {
      training: { warmupSteps: 5, finalRatio: 0.5 },
      models: [{ mixer: 'lstm', training: { warmupFraction: 0.2, finalLearningRate: 1e-4 } }],
    };
    expect(training(fraction)).toMatchObject({ warmupSteps: 200, finalRatio: 0.1 });
    expect(training({ training: { finalLearningRate: 1 } }).finalRatio).toBe(1);
  });

  it('merges fields of models by name, and repeats a pattern over the depth', () => {
    const [run] = plan({
      model: { dropout: 0.1, mlstm: { convKernel: 2, qkvBlockSize: 2 } },
      sizes: [{ dim: 16, blocks: 5, heads: 2, model: { mlstm: { projectionFactor: 4 } } }],
      models: [{ pattern: ['mlstm', 'mlstm', 'slstm'], model: { mlstm: { convKernel: 3 }, slstm: { heads: 1 } } }],
    });
    expect(run!.label).toBe('mlstm+mlstm+slstm');
    expect(run!.model).toMatchObject({
      blocks: ['mlstm', 'mlstm', 'slstm', 'mlstm', 'mlstm'],
      dropout: 0.1,
      mlstm: { convKernel: 3, qkvBlockSize: 2, projectionFactor: 4, heads: 2 },
      slstm: { heads: 1 },
    });
  });

  it('takes architectures by name, whose fields stand under those that are written', () => {
    const [lstm, llama] = plan({
      models: ['lstm', { architecture: 'llama', model: { normEps: 1e-3 } }],
      model: { dropout: 0.1 },
    });
    expect(lstm).toMatchObject({
      label: 'LSTM',
      mixers: ['lstm'],
      model: { frame: 'stacked', dropout: 0.1, lstm: { heads: 1 } },
    });
    expect(llama).toMatchObject({
      label: 'Llama',
      mixers: ['attention'],
      model: { norm: 'rmsnorm', normEps: 1e-3, maxLength: 77, attention: { window: 77 } },
    });
  });

  it("takes a user's own mixer, and knows by its file's content when it changed", () => {
    registerMixer({ ...findMixer('lstm')!, name: 'mine' });
    const models = [{ mixerFile: './mine.ts', label: 'mine', model: { custom: { mine: { convKernel: 2 } } } }, LSTM];
    const runs = plan({ models, sizes: [{ dim: 16, heads: 2 }] });
    expect(runs[0]).toMatchObject({
      mixers: ['mine'],
      mixerFiles: [{ file: '/mixers/mine.ts', sha256: '0'.repeat(64) }],
      model: { blocks: ['mine', 'mine'], custom: { mine: { convKernel: 2, heads: 2 } } },
    });
    expect(runs[1]!.mixerFiles).toEqual([]);
    const file = (sha256: string, folder: string) => ({ file: `${folder}/mine.ts`, sha256, mixer: 'mine' });
    const hash = (sha256: string, folder: string) =>
      specHash(plan({ models }, { mixerFiles: new Map([['./mine.ts', file(sha256, folder)]]) })[0]!);
    expect(hash('0'.repeat(64), '/a')).toBe(hash('0'.repeat(64), '/b'));
    expect(hash('0'.repeat(64), '/a')).not.toBe(hash('1'.repeat(64), '/a'));
  });
});

describe('equal numbers of parameters', () => {
  it('are found for each model and size, within the tolerance, without the first one changing', () => {
    const runs = plan({
      models: ['xlstm[1:1]', LSTM, 'slstm', 'mlstm'],
      sizes: [{ dim: 64 }, { dim: 128, heads: 4 }],
      matchParameters: { tolerance: 0.1, step: 4 },
    });
    expect(runs[0]!.model.dim).toBe(64);
    for (const size of ['D64x2', 'D128x2']) {
      const [first, ...others] = runs.filter((run) => run.size === size).map(parametersOf);
      for (const other of others) expect(Math.abs(other - first!) / first!).toBeLessThanOrEqual(0.1);
    }
    expect(new Set(runs.map(({ model }) => model.dim)).size).toBeGreaterThanOrEqual(3);
  });

  it('may be a number', () => {
    const runs = plan({
      models: [LSTM, 'mlstm'],
      model: { feedForward: { roundTo: 8 } },
      matchParameters: { target: 50_000, tolerance: 0.1, step: 4 },
    });
    for (const run of runs) expect(Math.abs(parametersOf(run) - 50_000)).toBeLessThanOrEqual(5000);
  });

  it('that do not exist are an error with the nearest ones', () => {
    const matchParameters = { target: 50_000, tolerance: 0.001, step: 32 };
    expect(() => plan({ matchParameters })).toThrow(
      /model "lstm" at D16x2 on parity: no width that is a multiple of 32 has 50000 .* the nearest are \d+ at width 32, \d+ at width 64; choose a smaller matchParameters.step or feedForward.roundTo/,
    );
  });

  it('are the nearest of all widths, also where some do not fit', () => {
    fc.assert(
      fc.property(
        fc.record({
          step: fc.constantFrom(1, 4, 8),
          target: fc.integer({ min: 1, max: 200_000 }),
          divisor: fc.constantFrom(1, 3, 7, 12),
          roundTo: fc.constantFrom(1, 16, 64),
        }),
        ({ step, target, divisor, roundTo }) => {
          const count = (dim: number) =>
            dim % divisor === 0 ? dim * Math.ceil(dim / roundTo) * roundTo + 3 * dim : null;
          const all = Array.from({ length: 1000 }, (_, k) => count((k + 1) * step)).filter((n) => n !== null);
          const nearest = Math.min(...all.map((n) => Math.abs(n - target)));
          const { parameters, dim } = matchWidth(count, { target, tolerance: 1e9, step }, 'it');
          expect(Math.abs(parameters - target)).toBe(nearest);
          expect(parameters).toBe(count(dim));
        },
      ),
    );
  });

  it('of a model that fits no width say so', () => {
    expect(() => matchWidth(() => null, { target: 10, tolerance: 1, step: 8 }, 'it')).toThrow('none fits at all');
  });
});

describe('a wrong compare.yaml', () => {
  const wrong: readonly (readonly [object, string])[] = [
    [{ tasks: [] }, 'formal.yaml: tasks:'],
    [{ seedz: [1] }, 'unknown field "seedz"; did you mean "seeds"?'],
    [{ training: { step: 5 } }, 'unknown field "training.step"; did you mean "steps"?'],
    [{ tasks: [{ name: 'parity', trainnig: {} }] }, 'unknown field "tasks.0.trainnig"; did you mean "training"?'],
    [{ tasks: ['absent'] }, 'task "absent": there is no task "absent"'],
    [{ models: ['lama'] }, 'models.0: architecture: there is no "lama"; did you mean "llama"?'],
    [{ models: [{ mixer: 'lstn' }] }, 'models.0: there is no mixer "lstn"; did you mean "lstm"?'],
    [{ models: [{}] }, 'models.0: give an architecture, a mixer, a pattern of mixers, or a mixerFile'],
    [{ models: [{ mixer: 'lstm', pattern: ['lstm'] }] }, 'models.0: give one of architecture, mixer and pattern'],
    [{ models: ['xlstm[0:0]'] }, 'did you mean "xlstm[1:1]"'],
    [
      { models: [LSTM, { mixer: 'lstm', model: { dropout: 0.5 } }] },
      'models.1: another one is called "lstm"; give it a label',
    ],
    [
      { models: [LSTM, { mixer: 'lstm', label: 'b' }] },
      'two runs do the same: lstm at D16x2 on parity, learning rate 0.001, seed 0; and b',
    ],
    [{ seeds: [1, 1] }, 'two runs do the same'],
    [{ sizes: [{ dim: 10 }] }, 'model "lstm" at D10x2 on parity: lstm: heads must divide the width, got 4 heads of 10'],
    [
      { models: [{ mixer: 'lstm', model: { lstm: { haeds: 2 } } }] },
      'unknown field "lstm.haeds"; did you mean "heads"?',
    ],
    [{ matchParameters: { target: 'second' } }, 'must be "first" or a number of parameters'],
    [{ learningRates: [0] }, 'learningRates.0'],
    [{ jobs: 0 }, 'jobs'],
    [{ device: { name: 'gpu' } }, 'device.name: "gpu" is not one of'],
  ];

  it.each(wrong)('%j', (config, message) => {
    expect(() => plan(config)).toThrow(message);
  });
});
