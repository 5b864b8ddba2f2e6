/** @file The models that the benches of a GPU take: xLSTM Large of any size, and one with random bf16 weights. */
import type { Device } from '../../src/device/device.js';
import { WeightFormat } from '../../src/device/kernels.js';
import { packedRowBytes } from '../../src/device/packing.js';
import { initialValues } from '../../src/layers/parameter.js';
import type { ModelConfigInput } from '../../src/model/config.js';
import { LanguageModel, parameterTable } from '../../src/model/language-model.js';
import { FrozenParameters } from '../../src/model/parameters.js';
import { presetConfig } from '../../src/model/presets.js';
import { fold, normal, randomKey } from '../../src/tensor/random.js';
import { Tensor } from '../../src/tensor/tensor.js';

/** xLSTM Large with these sizes, in the form of xLSTM-7B. */
export const large = (dim: number, blocks: number, heads: number, vocabSize: number): ModelConfigInput => ({
  ...presetConfig('xlstm-large-7b'),
  ...{ dim, blocks: Array<string>(blocks).fill('mlstmLarge'), mlstmLarge: { heads }, vocabSize },
});

/** The options of `parseArgs` that say how large, with these defaults. */
export const sizeOptions = (dim: number, blocks: number, heads: number) =>
  ({
    dim: { type: 'string', default: String(dim) },
    blocks: { type: 'string', default: String(blocks) },
    heads: { type: 'string', default: String(heads) },
    vocab: { type: 'string', default: '50304' },
  }) as const;

/** Random numbers that matrices are made of, over and over: making billions anew takes minutes. */
const POOL = normal(randomKey(7), 1 << 20);

/** A model whose matrices are bf16, as its initial values are sized but from the pool. */
export function randomModel(device: Device, config: ModelConfigInput): LanguageModel {
  const rowsAtOnce = Math.max(1, Math.floor(POOL.length / 16_384));
  const tensors = Object.entries(parameterTable(config)).map(([name, spec]): [string, Tensor] => {
    if (spec.dense !== true) {
      const buffer = device.alloc(
        'float',
        spec.shape.reduce((a, b) => a * b, 1),
      );
      device.write(buffer, initialValues(spec, fold(randomKey(0), name)));
      return [name, new Tensor(device, spec.shape, buffer)];
    }
    const [rows, columns] = spec.shape as [number, number];
    const rowBytes = packedRowBytes(WeightFormat.bf16, columns, 0);
    const packed = device.alloc('uint8', rows * rowBytes);
    const count = Math.min(rows, rowsAtOnce);
    const floats = device.alloc('float', count * columns);
    const std = spec.init.kind === 'normal' ? spec.init.std : 0.02;
    device.write(
      floats,
      POOL.subarray(0, count * columns).map((x) => std * x),
    );
    for (let row = 0; row < rows; row += count) {
      const some = Math.min(count, rows - row);
      const part = device.view(packed, row * rowBytes, some * rowBytes);
      device.kernels.packRows(part, floats, some, columns, WeightFormat.bf16, 0);
    }
    device.free(floats);
    return [name, new Tensor(device, spec.shape, packed, { format: WeightFormat.bf16, group: 0 })];
  });
  return new LanguageModel(config, device, new FrozenParameters(device, Object.fromEntries(tensors)));
}

/** RMS of the difference over that of what is expected. */
export const relativeRms = (found: ArrayLike<number>, expected: ArrayLike<number>): number => {
  let [error, size] = [0, 0];
  for (let k = 0; k < expected.length; k++) {
    error += (found[k]! - expected[k]!) ** 2;
    size += expected[k]! ** 2;
  }
  return Math.sqrt(error / size);
};
