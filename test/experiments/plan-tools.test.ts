/** @file What the plan says of tasks and models is what comes out when they are made: parameters, lengths, refusals. */
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { resolveCompareConfig } from '../../src/experiments/compare-config.js';
import { onlyRuns } from '../../src/experiments/compare.js';
import { createPlanTools } from '../../src/experiments/plan-tools.js';
import { planRuns } from '../../src/experiments/plan.js';
import type { RunSpec } from '../../src/experiments/run-spec.js';
import { trainTask } from '../../src/experiments/train-task.js';
import { findMixer, registerMixer } from '../../src/mixers/registry.js';
import { fastestDevice } from '../support/devices.js';
import { temporaryFolder } from '../support/folders.js';

async function plan(config: object): Promise<RunSpec[]> {
  const device = { name: fastestDevice(), threads: 1 };
  const defaults = {
    models: ['xlstm[1:1]'],
    sizes: [{ dim: 16, heads: 2 }],
    training: { steps: 1, batchSize: 2 },
    device,
  };
  const resolved = resolveCompareConfig({ ...defaults, ...config }, 'compare.yaml');
  return planRuns(resolved, await createPlanTools(resolved, '.'));
}

function book(): string {
  const file = path.join(temporaryFolder(), 'book.txt');
  fs.writeFileSync(file, 'It was the best of times, it was the worst of times. '.repeat(100));
  return file;
}

const text = (options: object) => ({
  name: 'text',
  label: JSON.stringify(options),
  options: { contextLength: 16, evaluationTokens: 64, ...options },
});

describe('the plan', () => {
  it('counts the parameters that the models then have', async () => {
    const files = [book()];
    const runs = await plan({
      tasks: [
        { name: 'parity', preset: 'small' },
        { name: 'nearestNeighbour', preset: 'small' },
        text({ files }),
        text({ files, tokenizer: 'bpe', vocabSize: 280 }),
      ],
      models: ['xlstm[1:1]', 'gpt'],
      matchParameters: { tolerance: 0.5 },
    });
    const tools = await createPlanTools(resolveCompareConfig({ tasks: ['parity'], models: ['lstm'] }, 'a.yaml'), '.');
    expect(runs).toHaveLength(8);
    for (const spec of runs) {
      const { parameters } = await trainTask(spec);
      expect([spec.name, parameters]).toEqual([spec.name, tools.countParameters(spec.model, spec.task)]);
    }
  });

  it('gives learned positions and attention windows the length of the task', async () => {
    const files = [book()];
    const [short, long, written] = await plan({
      tasks: [
        text({ files }),
        text({ files, lengths: [32, 8] }),
        { ...text({ files, lengths: [64] }), model: { maxLength: 100, attention: { window: 3 } } },
      ],
      models: ['gpt'],
    });
    expect(short!.model).toMatchObject({ maxLength: 16, attention: { window: 16 } });
    expect(long!.model).toMatchObject({ maxLength: 32, attention: { window: 32 } });
    expect(written!.model).toMatchObject({ maxLength: 100, attention: { window: 3 } });
  });

  it('refuses a mixer that looks ahead where the next token is predicted, and takes it where a class is asked', async () => {
    const lstm = findMixer('lstm')!;
    registerMixer({
      ...lstm,
      name: 'lookingAhead',
      create: (options, place) => ({ ...lstm.create(options, place), causal: false, causalVariant: 'take lstm' }),
    });
    const models = [{ mixer: 'lookingAhead' }];
    const refused =
      'model "lookingAhead" at D16x2 on parity: model: lstm looks at later steps, so it cannot predict the next one; take lstm';
    await expect(plan({ tasks: ['parity'], models })).rejects.toThrow(refused);
    await expect(plan({ tasks: [text({ files: [book()] })], models })).rejects.toThrow('looks at later steps');
    expect(await plan({ tasks: [{ name: 'listops', preset: 'small' }], models })).toHaveLength(1);
  });

  it('names what is wrong with a task', async () => {
    await expect(plan({ tasks: [{ name: 'parity', preset: 'smal' }] })).rejects.toThrow(
      'there is no preset "smal"; did you mean "small"?',
    );
    await expect(plan({ tasks: [{ name: 'parity', options: { lenght: 3 } }] })).rejects.toThrow(
      'unknown field "lenght"',
    );
    await expect(plan({ tasks: [{ name: 'text' }] })).rejects.toThrow('task "text": task text: files');
    await expect(plan({ tasks: [{ ...text({ files: ['a'] }), preset: 'small' }] })).rejects.toThrow(
      'text has no presets',
    );
    await expect(plan({ tasks: [text({ files: ['a'], tokenizer: 'absent.json' })] })).rejects.toThrow('absent.json');
  });

  it('chooses runs by mixer or label, in any case', async () => {
    const runs = await plan({ tasks: ['parity'], models: ['xlstm[1:1]', 'xlstm[1:0]', 'llama'] });
    const chosen = (...names: string[]) => runs.filter(onlyRuns(runs, names)).map(({ label }) => label);
    expect(chosen()).toHaveLength(3);
    expect(chosen('mlstm')).toEqual(['xLSTM[1:1]', 'xLSTM[1:0]']);
    expect(chosen('LLAMA', 'slstm')).toEqual(['xLSTM[1:1]', 'Llama']);
  });
});
