/**
 * @file A state as a file: what a model has in mind after a text, to go on from later without reading the text again.
 * Safetensors with the tensors `blocks.K.<name>` and `logits`, to the last bit as they were; the metadata names the model.
 * It does not read text; `../generate/decode.ts` does.
 */
import fs from 'node:fs';
import type { FloatArray } from '../device/device.js';
import type { StateSpec } from '../mixers/mixer.js';
import { checkShape } from '../tensor/shape.js';
import { modelFingerprint, shortFingerprint } from './fingerprint.js';
import type { LanguageModel } from './language-model.js';
import { openSafetensors, writeSafetensors, type SafetensorsFile } from './safetensors.js';
import type { TensorToWrite } from './tensor-array.js';
import type { ModelState } from './state.js';

const FORMAT = 'xlstm-state';
const VERSION = '1';
const LOGITS = 'logits';

/** A state with what is needed to go on from it. */
export interface SavedState {
  readonly state: ModelState;
  /** Tokens read so far. */
  readonly tokens: number;
  /** Logits [B,V] for the token that comes next, flat; null where nothing was read or they were not kept. */
  readonly logits: FloatArray | null;
  /** Sequences B of the state. */
  readonly sequences: number;
}

/** What `saveState` writes beside the state. */
export interface StateFacts {
  /** The model, or its fingerprint where it is known already. */
  readonly model: LanguageModel | string;
  readonly tokens: number;
  readonly logits?: FloatArray | null;
  /** Sequences B of the state. Default 1. */
  readonly sequences?: number;
}

/** What a state file says of itself. */
export interface StateFileInfo {
  /** Fingerprint of the model. */
  readonly model: string;
  readonly tokens: number;
  /** Sequences B. */
  readonly sequences: number;
  readonly precision: 'float32' | 'float64';
  /** Whether the next token can be chosen without reading one. */
  readonly hasLogits: boolean;
  /** Shape of each tensor of the state: "blocks.0.C". */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
}

/**
 * Writes a state: beside its place first, then renamed.
 * @throws RangeError when a value is not finite: the model has diverged. @throws WriteError when the disk refuses.
 */
export async function saveState(file: string, state: ModelState, facts: StateFacts): Promise<void> {
  const { model, tokens, logits = null, sequences: B = 1 } = facts;
  const fingerprint = typeof model === 'string' ? model : await modelFingerprint(model);
  const written: TensorToWrite[] = [];
  for (const [k, block] of state.blocks.entries()) {
    for (const [name, tensor] of Object.entries(block)) {
      written.push(toWrite(file, tensorName(k, name), tensor.shape, await tensor.data()));
    }
  }
  if (logits !== null) written.push(toWrite(file, LOGITS, [B, logits.length / B], logits));
  const metadata = { format: FORMAT, version: VERSION, model: fingerprint, tokens: `${tokens}`, sequences: `${B}` };
  await writeSafetensors(file, written, metadata);
}

const tensorName = (block: number, name: string): string => `blocks.${block}.${name}`;

function toWrite(file: string, name: string, shape: readonly number[], data: FloatArray): TensorToWrite {
  checkValues(`saveState: ${file}`, name, data);
  if (data instanceof Float64Array) return { name, dtype: 'F64', shape, data: data as Float64Array<ArrayBuffer> };
  return { name, dtype: 'F32', shape, data: data as Float32Array<ArrayBuffer> };
}

/** The stabiliser m of the exponential gate is -Infinity before the first step, and a token may have no probability. */
function checkValues(what: string, name: string, data: FloatArray): void {
  const at = data.findIndex((value) => Number.isNaN(value) || value === Infinity);
  if (at === -1) return;
  throw new RangeError(
    `${what}: ${name} holds ${data[at]} at element ${at}; the model has diverged or the file is damaged`,
  );
}

/**
 * Reads a state of `model` onto its device. The caller owns it. On a device of the precision that it was saved with, it
 * is the same to the last bit.
 * @param fingerprint  that of the model, where it is known already
 * @throws Error for a file that is no state, is damaged, or belongs to another model.
 */
export async function loadState(file: string, model: LanguageModel, fingerprint?: string): Promise<SavedState> {
  using tensors = openState(file);
  const info = infoOf(tensors);
  const own = fingerprint ?? (await modelFingerprint(model));
  if (info.model !== own) {
    throw new Error(
      `${file}: this state belongs to the model ${shortFingerprint(info.model)}, not to this one, which is ` +
        `${shortFingerprint(own)}; read the text again with \`xlstm state save\``,
    );
  }
  checkTensors(tensors, model, info);
  const data = new Map([...tensors.tensors.keys()].map((name) => [name, tensors.read(name) as FloatArray]));
  for (const [name, values] of data) checkValues(file, name, values);
  const state = model.initialState(info.sequences);
  for (const [k, block] of state.blocks.entries()) {
    for (const [name, { buffer }] of Object.entries(block)) model.device.write(buffer, data.get(tensorName(k, name))!);
  }
  return { state, tokens: info.tokens, sequences: info.sequences, logits: data.get(LOGITS) ?? null };
}

/** What a state file says of itself, without a model. @throws Error for a file that is no state. */
export function readStateInfo(file: string): StateFileInfo {
  using tensors = openState(file);
  return infoOf(tensors);
}

function openState(file: string): SafetensorsFile {
  if (!fs.existsSync(file)) throw new Error(`${file}: there is no such file; \`xlstm state save\` writes states`);
  return openSafetensors(file);
}

function infoOf({ path: file, metadata, tensors }: SafetensorsFile): StateFileInfo {
  const { format, version, model = '' } = metadata;
  if (format !== FORMAT) {
    throw new Error(`${file}: not a state but another safetensors file; \`xlstm state save\` writes states`);
  }
  if (version !== VERSION) {
    throw new Error(`${file}: a state of version ${version}, this library reads ${VERSION}; save it again`);
  }
  const damaged = (problem: string): Error => new Error(`${file}: the state file is damaged: ${problem}`);
  const count = (name: string, least: number): number => {
    const text = metadata[name] ?? '';
    const value = Number(text);
    if (/^\d{1,15}$/.test(text) && value >= least) return value;
    throw damaged(`its ${name} must be a whole number from ${least}, got ${JSON.stringify(text.slice(0, 20))}`);
  };
  if (!/^[0-9a-f]{64}$/.test(model)) throw damaged('the fingerprint of its model must be 64 hexadecimal digits');
  const types = new Set([...tensors.values()].map(({ dtype }) => dtype));
  const [dtype] = types;
  if (types.size !== 1 || (dtype !== 'F32' && dtype !== 'F64')) {
    throw damaged(`all its tensors must be F32, or all F64, got ${[...types].join(' and ') || 'none'}`);
  }
  return {
    model,
    tokens: count('tokens', 0),
    sequences: count('sequences', 1),
    precision: dtype === 'F32' ? 'float32' : 'float64',
    hasLogits: tensors.has(LOGITS),
    tensors: new Map([...tensors].filter(([name]) => name !== LOGITS).map(([name, { shape }]) => [name, shape])),
  };
}

/** @throws Error when the file does not hold exactly the tensors of a state of this model. */
function checkTensors({ path: file, tensors }: SafetensorsFile, model: LanguageModel, info: StateFileInfo): void {
  const B = info.sequences;
  const wanted = new Map<string, readonly number[]>();
  for (const [k, part] of model.backbone.parts.entries()) {
    for (const [name, { shape }] of Object.entries<StateSpec>(part.stateSpecs(B)))
      wanted.set(tensorName(k, name), shape);
  }
  if (info.hasLogits) wanted.set(LOGITS, [B, model.config.vocabSize]);
  const foreign = [...tensors.keys()].find((name) => !wanted.has(name));
  if (foreign !== undefined)
    throw new Error(`${file}: the state file is damaged: it has a tensor "${foreign}" too many`);
  for (const [name, shape] of wanted) {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new Error(`${file}: the state file is damaged: it lacks the tensor "${name}"`);
    checkShape(`${file}: ${name}`, tensor.shape, shape);
  }
}
