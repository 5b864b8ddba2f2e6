/** @file That a tokenizer is the one of a model: before text goes in, since another one gives nonsense without an error. */
import type { ModelFacts } from '../model/formats/source.js';
import type { LanguageModel } from '../model/language-model.js';
import type { Tokenizer } from '../tokens/tokenizer.js';

/**
 * @param folder  of the model, for errors
 * @throws Error when the model was trained with another tokenizer, or has fewer tokens.
 */
export function checkTokenizer(tokenizer: Tokenizer, model: LanguageModel, facts: ModelFacts, folder: string): void {
  if (facts.tokenizer !== null && facts.tokenizer !== tokenizer.fingerprint()) {
    throw new Error(
      `${folder}: its tokenizer is not the one that the model was trained with ` +
        `(fingerprint ${tokenizer.fingerprint().slice(0, 12)}, expected ${facts.tokenizer.slice(0, 12)}); restore tokenizer.json`,
    );
  }
  if (tokenizer.vocabSize > model.config.vocabSize) {
    throw new Error(`${folder}: the tokenizer has ${tokenizer.vocabSize} tokens, the model ${model.config.vocabSize}`);
  }
}
