/** @file The tasks by name. A new one is its file and a line here. */
import { checkConfig, suggestion } from '../../model/check-config.js';
import type { TaskDefinition } from './definition.js';
import { bucketSortTask } from './formal-languages/bucket-sort.js';
import { cycleNavigationTask } from './formal-languages/cycle-navigation.js';
import { evenPairsTask } from './formal-languages/even-pairs.js';
import { majorityCountTask, majorityTask } from './formal-languages/majority.js';
import { missingDuplicateTask } from './formal-languages/missing-duplicate.js';
import { modularArithmeticBracketsTask } from './formal-languages/modular-arithmetic-brackets.js';
import { modularArithmeticTask } from './formal-languages/modular-arithmetic.js';
import { parityTask } from './formal-languages/parity.js';
import { solveEquationTask } from './formal-languages/solve-equation.js';
import { stackManipulationTask } from './formal-languages/stack-manipulation.js';
import { oddsFirstTask, repetitionTask, reverseStringTask, setTask } from './formal-languages/string-copies.js';
import { imageTask } from './lra/image.js';
import { listopsTask } from './lra/listops.js';
import { pathfinderTask } from './lra/pathfinder.js';
import { retrievalTask } from './lra/retrieval.js';
import { textClassificationTask } from './lra/text-classification.js';
import { nearestNeighbourTask } from './nearest-neighbour.js';
import { recallTask } from './recall.js';
import type { Task } from './task.js';

const DEFINITIONS: readonly TaskDefinition[] = [
  nearestNeighbourTask,
  recallTask,
  // Formal languages in the order of the paper's figures 4 and 12.
  bucketSortTask,
  missingDuplicateTask,
  modularArithmeticBracketsTask,
  solveEquationTask,
  cycleNavigationTask,
  evenPairsTask,
  modularArithmeticTask,
  parityTask,
  majorityTask,
  majorityCountTask,
  oddsFirstTask,
  reverseStringTask,
  stackManipulationTask,
  repetitionTask,
  setTask,
  // Long Range Arena.
  retrievalTask,
  listopsTask,
  pathfinderTask,
  imageTask,
  textClassificationTask,
];

export const TASKS: ReadonlyMap<string, TaskDefinition> = new Map(
  DEFINITIONS.map((definition) => [definition.name, definition]),
);

export const taskNames = (): string[] => [...TASKS.keys()];

function definitionOf(name: string): TaskDefinition {
  const definition = TASKS.get(name);
  if (definition !== undefined) return definition;
  throw new RangeError(`task: there is no "${name}"${suggestion(name, taskNames())}`);
}

/**
 * All options of a task, those given over those of the preset.
 * @param preset  "paper" or "small"; undefined: neither
 * @throws RangeError for a task or preset that does not exist; ConfigError naming a wrong option.
 */
export function taskOptions(
  name: string,
  preset: string | undefined,
  options: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { options: schema, presets } = definitionOf(name);
  if (preset !== undefined && !(preset in presets)) {
    throw new RangeError(`task ${name}: there is no preset "${preset}"${suggestion(preset, Object.keys(presets))}`);
  }
  const under = preset === undefined ? {} : presets[preset as 'paper' | 'small'];
  return checkConfig(schema, { ...under, ...options }, `task ${name}`);
}

/** @throws RangeError for a task that does not exist, or options that do not fit each other; ConfigError for wrong ones. */
export const createTask = (name: string, options: Readonly<Record<string, unknown>> = {}): Task =>
  definitionOf(name).create(taskOptions(name, undefined, options));
