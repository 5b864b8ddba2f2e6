/** @file What a run writes as it goes: metrics.jsonl, TensorBoard events, samples.jsonl. report.html is `run-report.ts`. */
import { MetricsLog } from './metrics-log.js';
import type { TrainStep } from './train-step.js';
import { runPaths } from './run-folder.js';
import { codeBlock, TensorBoardWriter } from './tensorboard.js';

export class RunLog {
  readonly #metrics: MetricsLog;
  readonly #samples: MetricsLog;
  readonly #board: TensorBoardWriter;

  /**
   * @param resumeStep  steps done before this session; what was logged for later ones is dropped
   * @throws WriteError when the disk refuses.
   */
  constructor(folder: string, resumeStep: number) {
    const paths = runPaths(folder);
    this.#metrics = new MetricsLog(paths.metrics, { resumeStep });
    this.#samples = new MetricsLog(paths.samples, { resumeStep });
    this.#board = new TensorBoardWriter(folder, resumeStep === 0 ? {} : { resumeStep });
  }

  step(step: TrainStep): void {
    const { validation, sample } = step;
    const time = Date.now() / 1000;
    this.#metrics.append({
      step: step.step,
      time,
      elapsedSeconds: step.elapsedSeconds,
      tokens: step.tokens,
      trainLoss: step.loss,
      emaLoss: step.emaLoss,
      bitsPerByte: step.bitsPerByte,
      learningRate: step.learningRate,
      gradientNorm: step.gradientNorm,
      tokensPerSecond: step.tokensPerSecond,
      ...(step.skipped ? { skipped: true } : {}),
      ...(validation === undefined
        ? {}
        : { validationLoss: validation.loss, validationBitsPerByte: validation.bitsPerByte }),
    });
    this.#board.scalars(step.step, {
      'loss/train': step.loss,
      'loss/ema': step.emaLoss,
      'loss/validation': validation?.loss,
      'bits per byte/train': step.bitsPerByte,
      'bits per byte/validation': validation?.bitsPerByte,
      'learning rate': step.learningRate,
      'gradient norm': step.gradientNorm,
      'tokens per second': step.tokensPerSecond,
    });
    if (sample !== undefined) {
      this.#samples.append({ step: step.step, time, ...sample });
      this.#board.text(step.step, 'sample', codeBlock(sample.prompt + sample.text));
    }
    if (step.checkpoint !== undefined) for (const log of [this.#metrics, this.#samples, this.#board]) log.sync();
  }

  close(): void {
    for (const log of [this.#metrics, this.#samples, this.#board]) log.close();
  }
}
