/** @file Operations of a language model, by the count that this library's configurations are compared with. */
import type { LanguageModel } from '../../../src/model/language-model.js';

/** Of a forward pass over T tokens, per token, the output layer included. */
export const forwardFlops = ({ backbone, config }: LanguageModel, T: number): number =>
  backbone.flopsPerToken(T) + 2 * config.dim * config.vocabSize;
