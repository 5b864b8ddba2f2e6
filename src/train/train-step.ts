/** @file What one optimizer step of a run tells: numbers, and what was due behind it. */

/** One optimizer step, and what came with it. Losses in nats per token. */
export interface TrainStep {
  /** Steps done, from 1. */
  readonly step: number;
  readonly totalSteps: number;
  /** Tokens read so far. */
  readonly tokens: number;
  readonly loss: number;
  /** Exponential moving average of the loss. */
  readonly emaLoss: number;
  /** The loss in bits per byte of text. */
  readonly bitsPerByte: number;
  readonly learningRate: number;
  /** Global norm before clipping. */
  readonly gradientNorm: number;
  readonly tokensPerSecond: number;
  /** Seconds of training, over all sessions of the run. */
  readonly elapsedSeconds: number;
  readonly remainingSeconds: number;
  /** The update was left out because loss or gradient was not finite. */
  readonly skipped: boolean;
  /** On held-out text, at the steps that evaluate. */
  readonly validation?: { readonly loss: number; readonly bitsPerByte: number; readonly best: boolean };
  /** Generated text, at the steps that sample. */
  readonly sample?: { readonly prompt: string; readonly text: string };
  /** Folder of the checkpoint, at the steps that write one. */
  readonly checkpoint?: string;
}
