import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { taskNames, taskOptions } from '../../src/data/tasks/registry.js';
import { resolveCompareConfig } from '../../src/experiments/compare-config.js';
import { planComparison } from '../../src/experiments/compare.js';
import { planRuns, type PlanTools } from '../../src/experiments/plan.js';
import { PUBLISHED_TABLES } from '../../src/experiments/published/tables.js';
import { sameModel } from '../../src/experiments/report/names.js';
import { experimentFile, shippedExperiments } from '../../src/experiments/shipped.js';
import { countParameters } from '../../src/layers/parameter.js';
import { checkConfig } from '../../src/model/check-config.js';
import { parameterTable } from '../../src/model/language-model.js';
import type { RunSpec } from '../../src/experiments/run-spec.js';
import { TEXT_TASK, textOptionsSchema } from '../../src/experiments/text-learner.js';

const experiments = shippedExperiments();
const files = experiments.flatMap(({ name, presets }) => presets.map((preset) => [name, preset] as const));

/** As the command plans it; where texts and tokenizers of the paper would be needed, without counting parameters. */
const planOf = async (name: string, preset: string): Promise<readonly RunSpec[]> => {
  const file = experimentFile(name, preset);
  const input: unknown = parse(fs.readFileSync(file, 'utf8'));
  if (preset === 'small') return (await planComparison(input, file)).plan;
  const config = resolveCompareConfig(input, file);
  const tools: PlanTools = {
    taskOptions: (task, taskPreset, options) =>
      task === TEXT_TASK ? checkConfig(textOptionsSchema, options, task) : taskOptions(task, taskPreset, options),
    countParameters: () => 1,
    longestSequence: () => 2048,
    mixerFiles: new Map(),
  };
  return planRuns(config, tools);
};

describe('shipped experiments', () => {
  it('are there, each with a title, small and published settings', () => {
    expect(experiments.map(({ name }) => name)).toEqual([
      'ablations',
      'formal-languages',
      'language-modelling',
      'length-extrapolation',
      'lra',
      'nearest-neighbour',
      'rare-tokens',
      'recall',
      'scaling',
    ]);
    for (const { name, title, presets } of experiments) {
      expect(title, name).not.toBe(name);
      expect(presets.slice(0, 2), name).toEqual(['small', 'paper']);
    }
  });

  it.each(files)('%s, %s: every run is resolved', async (name, preset) => {
    const runs = await planOf(name, preset);
    expect(runs.length).toBeGreaterThan(2);
    expect(runs.length).toBeLessThan(2500);
  });

  it('say what there is when asked for something else', () => {
    expect(() => experimentFile('recal', 'small')).toThrow('did you mean "recall"?');
    expect(() => experimentFile('recall', 'large')).toThrow('there are small, paper, paper-2, paper-3');
  });

  it('have the tasks and the models that published tables name', async () => {
    const runs = (await Promise.all(files.map(([name, preset]) => planOf(name, preset)))).flat();
    const tasks = new Set(runs.map(({ task }) => task.name));
    for (const table of PUBLISHED_TABLES) {
      for (const { title, beside } of table.columns) {
        if (beside === undefined) continue;
        expect([...taskNames(), TEXT_TASK], `${table.id}: ${title}`).toContain(beside.task);
        if (table.id !== 'lra-reference') expect([...tasks], table.id).toContain(beside.task);
      }
    }
    for (const id of ['figure-4', 'table-1', 'table-2-components', 'table-2-gates', 'table-8']) {
      const table = PUBLISHED_TABLES.find((one) => one.id === id)!;
      const labels = [...new Set(runs.map(({ label }) => label))];
      const missing = table.rows.filter(({ model }) => !labels.some((label) => sameModel(label, model)));
      expect(missing.map(({ model }) => model), id).toEqual([]); // prettier-ignore
    }
  });

  it('have the published numbers of parameters', async () => {
    const runs = [...(await planOf('language-modelling', 'paper')), ...(await planOf('ablations', 'paper'))];
    for (const id of ['table-1', 'table-2-components', 'table-8']) {
      for (const { model, values } of PUBLISHED_TABLES.find((table) => table.id === id)!.rows) {
        // What of theirs is larger is not known: see README.md of the experiment.
        if (['RetNet', 'H3', 'Hyena'].includes(model)) continue;
        const run = runs.find(({ label }) => sameModel(label, model))!;
        const count = countParameters(parameterTable({ ...run.model, vocabSize: 50_304 })) / 1e6;
        expect(Math.abs(count / (values[0] as number) - 1), `${id}: ${model} ${count}`).toBeLessThan(0.002);
      }
    }
  });
});
