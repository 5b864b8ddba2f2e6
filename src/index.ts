/** @file The public API: only re-exports. */
export * from './shared-api.js';

export { openDevice, surveyDevices, type DeviceChoice, type DeviceOptions, type DeviceReport } from './device/open.js';
export { selftest, type SelftestOptions, type SelftestResult } from './device/selftest/selftest.js';

export { loadModel, saveModel, type LoadedModel, type LoadModelOptions } from './model/checkpoint.js';
export { openModelSource, type SourceOptions } from './model/formats/open.js';
export type { ModelFormat, ModelSource, ParameterSource } from './model/formats/source.js';
export { openSafetensors, writeSafetensors, type SafetensorsFile } from './model/safetensors.js';
export { loadState, readStateInfo, saveState, type StateFacts } from './model/state-file.js';

export { loadTokenizer } from './tokens/load.js';
export { saveTokenizer } from './tokens/tokenizer-files.js';

export { openDataset, type Dataset } from './data/dataset.js';
export { prepareDataset } from './data/prepare.js';
export { listSourceFiles, textFile, type SourceFile } from './data/source-files.js';

export type { RunConfig, RunConfigInput } from './train/config.js';
export { NonFiniteError } from './train/nonfinite.js';
export { Run, type TrainOptions } from './train/run.js';

export { loadSession, saveSession } from './generate/session-file.js';
export type { CompleteOptions, Completion } from './generate/complete.js';
export { TextModel, type LoadOptions } from './generate/text-model.js';
export { readFiles, type ReadOptions, type ReadProgress } from './generate/read-files.js';

export { batchesOf, batchOf, trainingBatch, type TaskBatch } from './data/tasks/batch.js';
export { createTask, taskNames, taskOptions } from './data/tasks/registry.js';
export type { Example, ExampleSet, Task } from './data/tasks/task.js';
export {
  readHellaswag,
  readLambada,
  scoreChoices,
  scoreLastWords,
  type ChoiceItem,
  type ChoiceScore,
  type Continuation,
  type ContinuationScorer,
  type LastWordItem,
  type LastWordScore,
} from './data/tasks/multiple-choice.js';
export { ContinuationReader } from './evaluate/continuation.js';

export { checkMixer, passes, type CheckOptions, type MixerCheck } from './experiments/check-mixer.js';
export { planComparison, runComparison, type CompareOptions, type Comparison } from './experiments/compare.js';
export type { CompareConfig } from './experiments/compare-config.js';
export { loadMixerFile, type LoadedMixerFile } from './experiments/mixer-file.js';
export { parseResults, type ResultRow } from './experiments/results-csv.js';
export type { RunResult, RunSpec } from './experiments/run-spec.js';

export { perplexityByLength, type LengthScores } from './evaluate/context-length.js';
export { logitsOf, writeLogits, type LogitsOptions } from './evaluate/logits.js';
export { windowPerplexity, wholePerplexity, type WindowOptions } from './evaluate/perplexity.js';
export type { Score } from './evaluate/score.js';
export { tokenText, type EvaluateOptions, type TokenText } from './evaluate/token-text.js';
