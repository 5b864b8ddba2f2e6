/** @file Models from fixtures: those of NX-AI/xlstm and transformers whose logits, losses and gradients were recorded. */
import { fileURLToPath } from 'node:url';
import type { Device } from '../../src/device/device.js';
import { modelConfigSchema, type ModelConfigInput } from '../../src/model/config.js';
import { largeTensors } from '../../src/model/formats/large.js';
import type { ForeignTensor } from '../../src/model/formats/foreign.js';
import { paperTensors } from '../../src/model/formats/paper.js';
import { LanguageModel, parameterTable } from '../../src/model/language-model.js';
import { size } from '../../src/tensor/shape.js';
import { readFixture, type Fixture } from './safetensors.js';

/** The folder golden/<name>: a checkpoint as the other library wrote it. */
export const goldenFolder = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/golden/${name}`, import.meta.url));

/** What was recorded of golden/<name>. */
export const goldenExpected = (name: string): Fixture =>
  readFixture(new URL(`../fixtures/golden/${name}/expected.safetensors`, import.meta.url));

/** Values of a fixture by the parameters that they belong to; its names may carry a prefix ("init.", "grad."). */
export function parameterValues(fixture: Fixture, prefix: string, config: ModelConfigInput): Map<string, Float32Array> {
  const model = parameterTable(config);
  const tensors = tensorsOf(config);
  return new Map(
    tensors.flatMap(({ name, parts }) => {
      const { data } = fixture.tensors[prefix + name]!;
      let offset = 0;
      return parts.map((part): [string, Float32Array] => {
        const length = size(model[part]!.shape);
        offset += length;
        return [part, (data as Float32Array).subarray(offset - length, offset)];
      });
    }),
  );
}

function tensorsOf(config: ModelConfigInput): ForeignTensor[] {
  const table = parameterTable(config);
  const checked = modelConfigSchema.parse(config);
  return checked.blocks.includes('mlstmLarge')
    ? largeTensors(checked, table, 'nxai-large', 'single')
    : paperTensors(checked, table, 'vanilla');
}

/** A model with the parameters of a fixture. */
export function modelFromNxai(config: ModelConfigInput, device: Device, fixture: Fixture, prefix = ''): LanguageModel {
  const model = new LanguageModel(config, device);
  for (const [name, values] of parameterValues(fixture, prefix, config)) {
    model.parameters.write(name, Float64Array.from(values));
  }
  return model;
}
