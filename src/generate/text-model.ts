/** @file A language model with its tokenizer: text in, text out, streaming. */
import type { Device } from '../device/device.js';
import type { DeviceChoice, DeviceOptions } from '../device/open.js';
import { openProven } from '../device/open-proven.js';
import { kernelsOfFolder, loadModel, type LoadModelOptions } from '../model/checkpoint.js';
import type { ModelFacts } from '../model/formats/source.js';
import type { LanguageModel } from '../model/language-model.js';
import { loadTokenizer } from '../tokens/load.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import { resolveModelFolder } from '../train/run-folder.js';
import type { SavedState } from '../model/state-file.js';
import { checkTokenizer } from './check-tokenizer.js';
import { complete, type CompleteOptions, type Completion } from './complete.js';
import { endTokens, generateText, promptTokens, type GenerateOptions } from './generate-text.js';
import { readGenerationConfig, type GenerationConfig } from './generation-config.js';
import type { SamplingOptions } from './sampling-options.js';

/** Opened to be run unless `trainable` is asked for: matrices stay as they are stored, in place where the device can. */
export interface LoadOptions extends DeviceOptions, LoadModelOptions {
  /** Default "auto". */
  readonly device?: DeviceChoice | Device;
}

export class TextModel {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  /** The model folder it came from. */
  readonly folder: string;
  readonly facts: ModelFacts;
  /** What the makers of the model say about sampling and the ends of texts; null where they say nothing. */
  readonly generation: GenerationConfig | null;

  private constructor(model: LanguageModel, tokenizer: Tokenizer, folder: string, facts: ModelFacts) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.folder = folder;
    this.facts = facts;
    this.generation = readGenerationConfig(folder);
  }

  /**
   * Opens a run (its best checkpoint), a checkpoint, or a model folder.
   * @throws Error when there is no model, a file is damaged, the device does not work, or the tokenizer is not the one
   *   that the model was trained with.
   */
  static async load(folder: string, options: LoadOptions = {}): Promise<TextModel> {
    const { device: choice = 'auto' } = options;
    const resolved = resolveModelFolder(folder);
    const needs = () => kernelsOfFolder(resolved, options);
    const device = typeof choice === 'string' ? await openProven(choice, { needs, ...options }) : choice;
    const tokenizer = await loadTokenizer(resolved);
    const { model, facts } = loadModel(resolved, device, { trainable: false, ...options });
    try {
      checkTokenizer(tokenizer, model, facts, resolved);
      return new TextModel(model, tokenizer, resolved, facts);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /**
   * Continues a prompt; yields text as it becomes certain, never half a character. Ends at the end-of-text token, after
   * `maxTokens`, or when `signal` aborts. An empty prompt begins a new document, or goes on from `state`. What the options
   * leave out is as generation_config.json says, if there is one.
   * @throws RangeError when an option is outside of its range, or the prompt is empty and there is no end-of-text token.
   */
  async *generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string, void, undefined> {
    const stopTokens = options.stopTokens ?? this.stopTokens;
    yield* generateText(this.model, this.tokenizer, prompt, { ...this.sampling, ...options, stopTokens });
  }

  /**
   * Completes a prompt, or several together, each `n` times; for whole texts with their tokens (see `complete`).
   * @throws RangeError when an option is outside of its range, or a prompt is empty and there is no end-of-text token.
   */
  complete(prompts: string | readonly string[], options: CompleteOptions = {}): Promise<Completion[]> {
    return complete(this, typeof prompts === 'string' ? [prompts] : prompts, options);
  }

  /**
   * The tokens of a prompt, behind what the tokenizer puts before a text; of an empty one the token that begins a document.
   * @param state  what comes before the prompt, if anything does
   * @throws RangeError when the prompt is empty and there is no such token.
   */
  promptTokens(prompt: string, state?: SavedState): Int32Array {
    return promptTokens(this.tokenizer, prompt, state);
  }

  /** Sampling where nothing else is said: as the makers of the model say, and only tokens that the tokenizer has. */
  get sampling(): SamplingOptions {
    return { ...this.generation?.sampling, vocabSize: this.tokenizer.vocabSize };
  }

  /** Tokens that end a text: as the makers of the model say, else the tokenizer's end-of-text token. */
  get stopTokens(): readonly number[] {
    return this.generation?.stopTokens ?? endTokens(this.tokenizer);
  }

  dispose(): void {
    this.model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
