/**
 * @file Writes a model with its matrices packed into int8 or int4: a native model folder that opens in place. A few rows
 * at a time, so that the memory does not depend on the size of the model. What the model loses by it is measured elsewhere.
 */
import path from 'node:path';
import type { Device } from '../device/device.js';
import { packedRowBytes } from '../device/packing.js';
import { checkShape } from '../tensor/shape.js';
import type { Packing } from '../tensor/tensor.js';
import { CONFIG_FILE, configText, quantizationOf } from './formats/native-config.js';
import type { ModelSource, ParameterSource } from './formats/source.js';
import { parameterTable } from './language-model.js';
import { checkNames, packedPieces, packingOf } from './load-weights.js';
import { arrayOf, type TensorToWrite } from './tensor-array.js';
import { writeTensors, writeText } from './safetensors-shards.js';

export interface QuantizeOptions {
  readonly bits: 8 | 4;
  /** Elements that share a scale, a multiple of 16; 0 for one scale per row of int8. Default 64 for 8 bits, 32 for 4. */
  readonly group?: number;
  /** Told how much is written, from 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

/** Tensors begin at a multiple of a cache line, as the rows of a packed matrix do. */
const ALIGNMENT = 64;

/**
 * Writes config.json and the weights of `source` into an existing folder: matrices packed, everything else as it is.
 * @param device  what packs the rows
 * @returns       bytes of the parameters
 * @throws Error for a model that is packed already or holds a value that is not finite; WriteError when the disk refuses.
 */
export async function quantizeModel(
  source: ModelSource,
  folder: string,
  device: Device,
  { bits, group, onProgress = () => {} }: QuantizeOptions,
): Promise<number> {
  const { config, facts, parameters } = source;
  const table = parameterTable(config);
  checkNames(table, parameters, source.folder);
  const packings = new Map(
    Object.entries(table).flatMap(([name, { dense }]) =>
      dense ? [[name, packingOf(name, bits === 8 ? 'int8' : 'int4', group)] as const] : [],
    ),
  );
  const total = [...parameters.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  let done = 0;
  const written = [...parameters.values()].map((parameter): TensorToWrite => {
    checkShape(`${source.folder}: ${parameter.name}`, parameter.shape, table[parameter.name]!.shape);
    const packing = packings.get(parameter.name);
    const report = (share: number): void => onProgress((done += share * parameter.byteLength) / total);
    return packing === undefined ? unchanged(parameter, report) : packedTensor(device, parameter, packing, report);
  });
  const bytes = await writeTensors(folder, written, { metadata: { format: 'xlstm' }, alignment: ALIGNMENT });
  const quantization = quantizationOf(packings);
  writeText(path.join(folder, CONFIG_FILE), configText({ model: config, ...facts, quantization }));
  return bytes;
}

function unchanged(parameter: ParameterSource, report: (share: number) => void): TensorToWrite {
  const { name, shape, dtype } = parameter;
  const data = () => {
    report(1);
    return arrayOf(dtype, parameter.bytes());
  };
  return { name, shape, dtype, data };
}

function packedTensor(
  device: Device,
  parameter: ParameterSource,
  packing: Packing,
  report: (share: number) => void,
): TensorToWrite {
  const [rows, columns] = parameter.shape as [number, number];
  const shape = [rows, packedRowBytes(packing.format, columns, packing.group)];
  const data = async function* () {
    for await (const piece of packedPieces(device, parameter, packing)) {
      report(piece.length / (shape[0]! * shape[1]!));
      yield piece as Uint8Array<ArrayBuffer>;
    }
  };
  return { name: parameter.name, shape, dtype: 'U8', data };
}
