/**
 * @file What a folder with a model in it is to the rest of the library, whoever wrote it: a configuration, and every
 * parameter under this library's own name, row-major, in the type of element that the file has. It opens nothing.
 */
import type { HostMemory } from '../../device/device.js';
import type { Shape } from '../../tensor/shape.js';
import type { Packing } from '../../tensor/tensor.js';
import type { ModelConfig } from '../config.js';
import type { SafetensorsDtype } from '../safetensors-header.js';

/** Who wrote a folder: this library, Hugging Face transformers, or NX-AI's xlstm (Large, and the paper's architecture). */
export type ModelFormat = 'native' | 'hf' | 'nxai-large' | 'nxai';

export interface ParameterSource {
  /** As this library calls it: "blocks.0.mixer.q.weight". */
  readonly name: string;
  /** The tensor of the files that its elements are in. */
  readonly tensor: string;
  readonly shape: Shape;
  /** Type of the elements in the file; U8 where they are packed. */
  readonly dtype: SafetensorsDtype;
  /** How a matrix is packed; null where its elements are plain numbers. */
  readonly packing: Packing | null;
  readonly byteLength: number;
  /**
   * The bytes of its elements, row-major: in place, mapped from the file, where they lie so there, else gathered into new
   * memory. Not to be written to.
   * @throws SafetensorsError when the file got shorter meanwhile.
   */
  bytes(): Uint8Array;
  /** The same for a device to share (`Device.share`); null where they do not lie so in a mapped file. */
  memory(): HostMemory | null;
}

/** Facts of a folder that are not numbers of the model. */
export interface ModelFacts {
  /** Fingerprint of the tokenizer that the model was trained with; null where it is not known. */
  readonly tokenizer: string | null;
  /** What it was trained on, for people. */
  readonly training: Readonly<Record<string, unknown>>;
}

/** How a folder of another library looked, so that it can be written again byte for byte. */
export interface Origin {
  readonly format: Exclude<ModelFormat, 'native'>;
  /** The text of its configuration. */
  readonly config: string;
  /** Metadata of its tensor files. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The file of each tensor, where there are several. */
  readonly weightMap?: Readonly<Record<string, string>> | undefined;
  /** Text of the index, where there is one. */
  readonly index?: string | undefined;
  /** Whether matrices of one input are joined (xLSTM Large). */
  readonly weightMode?: 'single' | 'fused' | undefined;
  /** Whose layout the sLSTM parameters have (the paper's architecture). */
  readonly backend?: 'vanilla' | 'cuda' | undefined;
}

export interface ModelSource {
  readonly format: ModelFormat;
  readonly folder: string;
  readonly config: ModelConfig;
  readonly facts: ModelFacts;
  /** Where the model came from, or what the folder is itself; null for one that began here. */
  readonly origin: Origin | null;
  /** Every parameter, by this library's names. */
  readonly parameters: ReadonlyMap<string, ParameterSource>;
  /** Closes the files; bytes that were handed out stay valid. */
  close(): void;
  [Symbol.dispose](): void;
}
