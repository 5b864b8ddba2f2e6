/**
 * @file What a run of a comparison trains: something that takes optimizer steps and can be measured. `text-learner.ts` is a
 * language model on a corpus, `sequence-learner.ts` a model on one of the tasks; the course of a run is in `train-task.ts`.
 */

export interface Learner {
  readonly parameters: number;
  /** Floats of the state of one sequence of the longest training length. */
  readonly stateFloats: number;
  /** Of a forward pass over the context of a text, or the longest example of a task; a multiply-add counts as two. */
  readonly flopsPerToken: number;
  /**
   * One optimizer step on batch number `index`, which with the seed decides the batch and the dropout.
   * @returns the loss before it, not finite where the update was left out, and the tokens read
   */
  step(index: number, learningRate: number): Promise<{ readonly loss: number; readonly tokens: number }>;
  /** Measures on the validation set: "loss", "accuracy", ... */
  validate(signal?: AbortSignal): Promise<Record<string, number>>;
  /** Measures on the test sets, after training: "<set>/<measure>". */
  test(signal?: AbortSignal): Promise<Record<string, number>>;
  dispose(): void;
}
