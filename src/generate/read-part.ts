/** @file A part of a prompt through a model, and the logits after it: what a session and an engine have in common. */
import type { FloatArray } from '../device/device.js';
import type { ForwardOptions, LanguageModel } from '../model/language-model.js';
import type { ModelState } from '../model/state.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Reads tokens of one sequence.
 * @returns their hidden vectors [1,T,D], or with `outputs` of the last step [1,1,D], and the state after them; both are
 *   the caller's
 * @throws what the device throws, such as OutOfMemoryError.
 */
export function readPart(
  model: LanguageModel,
  tokens: Int32Array,
  options: ForwardOptions,
): { hidden: Tensor; state: ModelState } {
  const { device } = model;
  return scope(device, { collect: true }, () =>
    model.forward(Tensor.from(device, tokens, [1, tokens.length]), options),
  );
}

/** Logits [n,V] of hidden vectors [n,D], or of one [1,1,D], on the host. */
export const hostLogits = (model: LanguageModel, hidden: Tensor): Promise<FloatArray> =>
  scope(model.device, {}, () => {
    const D = hidden.extent(-1);
    return model.logits(hidden.reshape([hidden.size / D, D]).asFloat());
  }).take();
