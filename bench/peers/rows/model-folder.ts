/** @file Model folders that this project and its peers open alike, with random weights. */
import fs from 'node:fs';
import path from 'node:path';
import { createCpuDevice } from '../../../src/device/cpu/cpu.js';
import { saveModel } from '../../../src/model/checkpoint.js';
import type { ModelConfigInput } from '../../../src/model/config.js';
import { convertModel } from '../../../src/model/formats/convert.js';
import { openModelSource } from '../../../src/model/formats/open.js';
import { LanguageModel } from '../../../src/model/language-model.js';
import { writeSafetensors } from '../../../src/model/safetensors.js';
import { fold, normal, randomKey, uniform } from '../../../src/tensor/random.js';

const KEY = randomKey(5);

/**
 * Writes a model with its initial weights and some noise on all of them, since a weight that starts at zero hides errors.
 * @param layout  of the peer: that of transformers, or that of NX-AI's package for the paper's architecture
 * @returns       the folder
 */
export async function writeModel(folder: string, config: ModelConfigInput, layout: 'hf' | 'nxai'): Promise<string> {
  const [own, out] = ['native', 'model'].map((name) => path.join(folder, name)) as [string, string];
  for (const made of [own, out]) fs.mkdirSync(made, { recursive: true });
  using model = LanguageModel.create(config, createCpuDevice({ threads: 1 }), 0);
  for (const { name, length } of model.parameters.places) {
    const values = await model.tensors[name]!.data();
    const noise = normal(fold(KEY, name), length, 0, 0.02);
    model.parameters.write(
      name,
      Float64Array.from(values, (value, k) => value + noise[k]!),
    );
  }
  await saveModel(own, model, { tokenizer: null });
  using source = openModelSource(own);
  await convertModel(source, out, layout);
  fs.rmSync(own, { recursive: true });
  return out;
}

/** Writes a batch of random tokens and the tokens that follow them. @returns the file */
export async function writeBatch(folder: string, B: number, T: number, V: number): Promise<string> {
  const file = path.join(folder, 'batch.safetensors');
  const shape = [B, T];
  const stream = Int32Array.from(uniform(KEY, B * (T + 1), 0, V), Math.floor);
  const rows = (shift: number) => {
    return Int32Array.from({ length: B * T }, (_, k) => stream[Math.floor(k / T) * (T + 1) + (k % T) + shift]!);
  };
  const tensor = (name: string, data: Int32Array<ArrayBuffer>) => ({ name, dtype: 'I32', shape, data }) as const;
  await writeSafetensors(file, [tensor('tokens', rows(0)), tensor('targets', rows(1))]);
  return file;
}
