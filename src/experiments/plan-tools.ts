/**
 * @file What the plan of a comparison asks of tasks and models: the registry of tasks, texts with their tokenizers, files
 * of mixers, and numbers of parameters without allocating a model.
 */
import path from 'node:path';
import { createTask, taskOptions } from '../data/tasks/registry.js';
import type { Task } from '../data/tasks/task.js';
import { countParameters } from '../layers/parameter.js';
import { Backbone } from '../model/backbone.js';
import { checkConfig } from '../model/check-config.js';
import { modelConfigSchema, type ModelConfigInput } from '../model/config.js';
import { parameterTable } from '../model/language-model.js';
import { sequenceParameterTable } from '../model/sequence-model.js';
import { ByteTokenizer } from '../tokens/bytes.js';
import { loadTokenizer } from '../tokens/load.js';
import type { CompareConfig } from './compare-config.js';
import { loadMixerFile } from './mixer-file.js';
import type { LoadedMixerFile, PlanTools } from './plan.js';
import type { RunSpec } from './run-spec.js';
import { TEXT_TASK, textOptionsSchema } from './text-learner.js';

/** What a vocabulary of characters is taken to be before the text is read. */
const CHARACTERS = 100;

/**
 * Loads what the configuration names, so that the plan can be made.
 * @param folder  where the files of mixers lie, as compare.yaml has them
 * @throws Error naming a file that cannot be loaded.
 */
export async function createPlanTools(config: CompareConfig, folder: string): Promise<PlanTools> {
  const mixerFiles = await loadMixerFiles(config, folder);
  const vocabularies = await loadVocabularies(config);
  const tasks = new Map<string, Task>();
  const taskOf = ({ name, options }: RunSpec['task']): Task => {
    const key = JSON.stringify([name, options]);
    const task = tasks.get(key) ?? createTask(name, options);
    tasks.set(key, task);
    return task;
  };
  return {
    mixerFiles,
    taskOptions(name, preset, options) {
      if (name !== TEXT_TASK) return taskOptions(name, preset, options);
      if (preset !== undefined) throw new RangeError('text has no presets; give its options');
      return checkConfig(textOptionsSchema, options, 'task text');
    },
    longestSequence(task) {
      if (task.name !== TEXT_TASK) return taskOf(task).maxLength;
      const { contextLength, lengths } = checkConfig(textOptionsSchema, task.options, task.label);
      return Math.max(contextLength, ...lengths);
    },
    countParameters(model, task) {
      if (task.name === TEXT_TASK) return countForText(model, task, vocabularies);
      const { input, output } = taskOf(task);
      if (output.kind !== 'class') new Backbone(checkConfig(modelConfigSchema, model, 'model')).checkCausal();
      return countParameters(sequenceParameterTable(model, { input, output }));
    },
  };
}

function countForText(model: ModelConfigInput, task: RunSpec['task'], known: ReadonlyMap<string, number>): number {
  const { tokenizer, vocabSize } = checkConfig(textOptionsSchema, task.options, task.label);
  new Backbone(checkConfig(modelConfigSchema, model, 'model')).checkCausal();
  return countParameters(parameterTable({ ...model, vocabSize: known.get(tokenizer) ?? vocabSize }));
}

async function loadMixerFiles(config: CompareConfig, folder: string): Promise<Map<string, LoadedMixerFile>> {
  const names = new Set(config.models.flatMap(({ mixerFile }) => (mixerFile === undefined ? [] : [mixerFile])));
  const loaded = new Map<string, LoadedMixerFile>();
  for (const name of names) {
    const { file, sha256, definition } = await loadMixerFile(path.resolve(folder, name));
    loaded.set(name, { file, sha256, mixer: definition.name });
  }
  return loaded;
}

/** Sizes of the vocabularies that are known before a text is read, by the tokenizers that compare.yaml names. */
async function loadVocabularies(config: CompareConfig): Promise<Map<string, number>> {
  const known = new Map([
    ['bytes', new ByteTokenizer().vocabSize],
    ['chars', CHARACTERS],
  ]);
  for (const { name, options } of config.tasks) {
    const tokenizer = name === TEXT_TASK ? options['tokenizer'] : undefined;
    if (typeof tokenizer !== 'string' || tokenizer === 'bpe' || known.has(tokenizer)) continue;
    known.set(tokenizer, (await loadTokenizer(tokenizer)).vocabSize);
  }
  return known;
}
