/** @file Gradient checkpointing: keep only the ends of a stretch of ops and run it again when its gradient is due. */
import { scope } from '../tensor/scope.js';
import { backward, isRecorded, record } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Runs `body(inputs)` without recording it; `backward` runs it a second time with recording and back-propagates through
 * that. Memory between the passes: inputs and outputs alone. `body` must compute the same both times (pass random keys).
 * @param parameters  leaves that `body` uses besides its inputs, so that it is known whether a gradient is wanted
 * @see Chen et al. 2016, arXiv 1604.06174
 */
export function checkpoint(
  body: (inputs: readonly Tensor[]) => readonly Tensor[],
  inputs: readonly Tensor[],
  parameters: readonly Tensor[],
): readonly Tensor[] {
  const { device } = inputs[0]!;
  const outputs = scope(device, { record: false }, () => [...body(inputs)]);
  if (isRecorded([...inputs, ...parameters])) {
    record('checkpoint', outputs, [], (cotangents) => {
      // The gradients must outlive the inner scope, so they are made here.
      for (const leaf of [...inputs, ...parameters]) if (leaf.requiresGrad) void leaf.grad;
      scope(device, { record: true }, () => {
        const again = body(inputs.map((input) => input.reshape(input.shape)));
        const roots = again.flatMap((output, j) =>
          cotangents[j] === null ? [] : [[output, outputs[j]!.gradTensor()] as const],
        );
        backward(roots, { release: true });
      });
    });
  }
  return outputs;
}
