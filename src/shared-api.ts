/**
 * @file The part of the public API that is the same in a page and in Node: only re-exports, of what needs neither Node nor a
 * native library. `browser.ts` and `index.ts` export it, each with its own besides.
 */
export type { Device, DeviceInfo, FloatArray, HostArray } from './device/device.js';
export { DeviceLostError } from './device/device-lost.js';
export { BufferLimitError, OutOfMemoryError } from './device/out-of-memory.js';
export { WebGpuError } from './device/webgpu/adapter.js';
export { Activation, InputGate, WeightFormat, type DeviceBuffer, type Dtype, type Kernels } from './device/kernels.js';
export { packedRowBytes } from './device/packing.js';

export { scope, Scope, type ScopeOptions } from './tensor/scope.js';
export { backward, type BackwardOptions } from './tensor/tape.js';
export { Tensor } from './tensor/tensor.js';
export { fold, normal, randomKey, uniform, type RandomKey } from './tensor/random.js';

export {
  attention,
  attentionCache,
  type AttentionCache,
  type AttentionCacheOptions,
  type AttentionInputs,
  type AttentionOptions,
} from './ops/attention.js';
export { checkpoint } from './ops/checkpoint.js';
export { conv1d, type Conv1dOptions } from './ops/conv1d.js';
export { deltaRule, type DeltaRuleInputs, type DeltaRuleOptions } from './ops/delta-rule.js';
export { dplr, type DplrInputs, type DplrOptions } from './ops/dplr.js';
export { dropout } from './ops/dropout.js';
export {
  activate,
  add,
  gatedActivation,
  mul,
  scaled,
  skipGate,
  subtract,
  type ActivationName,
} from './ops/elementwise.js';
export { embedding } from './ops/embedding.js';
export { l2norm } from './ops/l2norm.js';
export { linearCrossEntropy, rootCrossEntropy } from './ops/linear-cross-entropy.js';
export { headwiseLinear, linear, linearConcat } from './ops/linear.js';
export { linformer, type LinformerInputs } from './ops/linformer.js';
export { longConv, type LongConvOptions } from './ops/long-conv.js';
export { mlstm, mlstmStep, type MlstmInputs, type MlstmOptions, type MlstmState } from './ops/mlstm.js';
export { layernorm, rmsnorm, type NormOptions } from './ops/norms.js';
export { positions, rope, type PositionOptions } from './ops/positions.js';
export { lstm, slstm, type Gates, type RecurrentOptions } from './ops/recurrent.js';
export type { Reset } from './ops/reset.js';
export { meanPool } from './ops/mean-pool.js';
export { s4Kernel, s4Scan, type S4Model, type S4ScanOptions } from './ops/s4.js';
export { selectiveScan, type SelectiveScanInputs, type SelectiveScanOptions } from './ops/selective-scan.js';
export { softCap } from './ops/soft-cap.js';
export {
  diagonalScan,
  ssmDiscretize,
  ssmKernel,
  type DiagonalModel,
  type DiagonalScanOptions,
  type SsmDiscretizeOptions,
} from './ops/state-space.js';
export { sum } from './ops/sum.js';
export { tokenShift } from './ops/token-shift.js';

export type { Init, ParameterSpec, ParameterTable, ParameterTensors } from './layers/parameter.js';
export { constant, countParameters, smallInit, wangInit } from './layers/parameter.js';
export { defineMixer, type FeedForwardKind, type MixerDefinition } from './mixers/definition.js';
export { findMixer, mixerNames, registerMixer } from './mixers/registry.js';
export type { Mixer, MixerContext, MixerPlace, MixerState, SharedValues, StateSpec } from './mixers/mixer.js';

export { ConfigError } from './model/check-config.js';
export type { ModelConfig, ModelConfigInput } from './model/config.js';
export type { ModelFacts } from './model/formats/source.js';
export { countByPart, LanguageModel, parameterTable, type ForwardOptions } from './model/language-model.js';
export type { WeightStorage } from './model/load-weights.js';
export {
  chosenModel,
  fetchModel,
  streamModel,
  type ChosenFile,
  type FetchOptions,
  type FetchProgress,
  type StreamedFile,
} from './model/fetch-model.js';
export {
  heldModelFiles,
  modelFiles,
  modelFromFiles,
  type ModelFiles,
  type ReadableFiles,
} from './model/model-files.js';
export { ModelStore, type FilesToStore, type SaveOptions, type StoredModel } from './model/model-store.js';
export { openModelFiles, type FolderFiles, type OpenFilesOptions } from './model/open-files.js';
export { StorageError, StorageFullError, type PageStorage } from './model/store-directory.js';
export type { OpenModelOptions } from './model/open-model.js';
export { presetConfig, presetNames } from './model/presets.js';
export { parseSafetensors, safetensorsBytes, type SafetensorsContent } from './model/safetensors-bytes.js';
export { SafetensorsError } from './model/safetensors-header.js';
export { modelFingerprint } from './model/fingerprint.js';
export type { SequenceEnds, SequenceInput, SequenceOutput } from './model/sequence-model.js';
export { ModelState } from './model/state.js';
export { halfLife, type GateTrace } from './model/trace/gates.js';
export type { MlstmHeadTrace } from './model/trace/mlstm-head.js';
export type { SlstmHeadTrace } from './model/trace/slstm-head.js';
export { traceModel, type BlockTrace, type ModelTrace, type TraceOptions } from './model/trace/trace.js';
export type { SavedState } from './model/state-file.js';
export type { TensorArray, TensorToWrite } from './model/tensor-array.js';

export {
  Engine,
  type EngineEvent,
  type EngineOptions,
  type EngineRequest,
  type EngineStats,
} from './generate/engine.js';

export { trainBpe } from './tokens/bpe-train.js';
export { ByteTokenizer } from './tokens/bytes.js';
export { charTokenizer } from './tokens/chars.js';
export { tokenizerOfFiles } from './tokens/from-folder.js';
export { tokenizerFromFiles } from './tokens/local-kinds.js';
export type { StreamDecoder, Tokenizer, TokenizerFiles } from './tokens/tokenizer.js';

export { createBatches, evaluationBatches, type Batch, type Batches } from './data/batches.js';
export { packDocuments } from './data/pack.js';
export { textPart, type NumberList, type TextPart } from './data/text-part.js';

export { evaluate } from './train/evaluate.js';
export type { TrainStep } from './train/train-step.js';
export {
  restoreSnapshot,
  snapshotBytes,
  snapshotFromBytes,
  takeSnapshot,
  type TrainerSnapshot,
} from './train/snapshot.js';
export { SteadyTrainer, TrainingLostError, type SteadyTrainerOptions, type StepPlan } from './train/steady-trainer.js';
export { Trainer, type HostBatch, type StepResult, type TrainerOptions } from './train/trainer.js';
export { learningRateAt, type Schedule } from './train/schedule.js';

export { checkTokenizer } from './generate/check-tokenizer.js';
export { decode, Session, type DecodeOptions } from './generate/decode.js';
export { generateText, type GenerateOptions } from './generate/generate-text.js';
export { DivergedError, Sampler, type SampledToken } from './generate/sampler.js';
export type { SamplingOptions } from './generate/sampling-options.js';
export type { TokenLogprob } from './generate/logprobs.js';
export { TextStream, type StreamedText, type TextStreamOptions } from './generate/text-stream.js';
