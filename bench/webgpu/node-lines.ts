/** @file What the bench of WebGPU in Node times on one device: calls with their arithmetic. It prints nothing. */
import type { Device } from '../../src/device/device.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { mlstm } from '../../src/ops/mlstm.js';
import { slstm } from '../../src/ops/recurrent.js';
import { sum } from '../../src/ops/sum.js';
import { fold, normal, randomKey, uniform } from '../../src/tensor/random.js';
import { scope } from '../../src/tensor/scope.js';
import { backward } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { Trainer } from '../../src/train/trainer.js';
import { casesFor, flopsOf, matmulError, matmulInputs, type Case } from './cases.js';
import { prepare } from './contender.js';
import { contenderOn } from './ours.js';

/** One line of the table: a call with its arithmetic and its least traffic. */
export interface Line {
  readonly name: string;
  readonly flops: number;
  readonly bytes?: number;
  /** Enqueues so many calls and waits for the last. */
  run(calls: number): Promise<unknown>;
}

const KEY = randomKey(3);

type Products = 'float32' | 'float16';
/** Of a product, RMS(difference) / RMS. */
const ALLOWED: Record<Products, number> = { float32: 1e-5, float16: 1e-3 };

/** @throws Error for a product that is wrong. */
async function caseLine(device: Device, of: Case, products: Products): Promise<Line> {
  const prepared = (await prepare(contenderOn(device), of))!;
  const line = { name: of.id, flops: flopsOf(of), run: (calls: number) => prepared.calls(calls) };
  if (of.kind !== 'matmul') return line;
  const error = matmulError(matmulInputs(of.sizes), await prepared.outputs());
  if (!(error < ALLOWED[products])) throw new Error(`bench:webgpu: ${of.id} is off by ${error}`);
  const { M, N, K } = of.sizes;
  return { ...line, bytes: 4 * (M * K + K * N + M * N) };
}

/** An op over sequences, forward and with its backward pass. @param flops  of the forward pass */
function opLines(
  device: Device,
  name: string,
  flops: number,
  shapes: readonly (readonly number[])[],
  op: (inputs: readonly Tensor[]) => Tensor,
): Line[] {
  const inputs = shapes.map((shape, k) => {
    const size = shape.reduce((product, length) => product * length, 1);
    const tensor = Tensor.from(device, Float32Array.from(normal(fold(KEY, k), size)), [...shape]);
    tensor.attachGrad(device.alloc('float', size));
    return tensor;
  });
  const run = async (calls: number, record: boolean): Promise<void> => {
    for (let call = 1; call <= calls; call++) {
      const result = scope(device, { record }, () => {
        const value = sum(op(inputs)).retain();
        if (record) backward(value, { release: true });
        return value;
      });
      if (call === calls) await result.data();
      result.dispose();
    }
  };
  return [
    { name: `${name}, forward`, flops, run: (calls) => run(calls, false) },
    { name: `${name}, forward and backward`, flops: 3 * flops, run: (calls) => run(calls, true) },
  ];
}

type SequenceSizes = readonly [B: number, T: number, NH: number, DH: number];

/** Arithmetic of the chunkwise form, chunks of 32: scores, their product with v, the state written and read. */
function mlstmLines(device: Device, [B, T, NH, DH]: SequenceSizes): Line[] {
  const flops = B * T * NH * (2 * 2 * 32 * DH + 2 * 2 * DH * DH);
  const [wide, heads] = [
    [B, T, NH * DH],
    [B, T, NH],
  ];
  const shapes = [wide, wide, wide, heads, heads] as const;
  return opLines(
    device,
    `mLSTM B${B} T${T} NH${NH} DH${DH}`,
    flops,
    shapes,
    ([q, k, v, i, f]) => mlstm({ q: q!, k: k!, v: v!, i: i!, f: f! })[0],
  );
}

function slstmLines(device: Device, [B, T, NH, DH]: SequenceSizes): Line[] {
  const wide = [B, T, NH * DH];
  const shapes = [wide, wide, wide, wide, [NH, 4 * DH, DH]] as const;
  return opLines(
    device,
    `sLSTM B${B} T${T} NH${NH} DH${DH}`,
    2 * B * T * NH * 4 * DH * DH,
    shapes,
    ([i, f, z, o, recurrent]) => slstm({ i: i!, f: f!, z: z!, o: o! }, recurrent!, null)[0],
  );
}

/** A whole training step of a language model with AdamW and clipping; the second block is an sLSTM. */
function trainingLine(device: Device, dim: number, count: number, B: number, T: number): Line {
  const V = 512;
  const blocks = Array.from({ length: count }, (_, k) => (k === 1 ? 'slstm' : 'mlstm'));
  const model = LanguageModel.create({ dim, vocabSize: V, blocks }, device, 0);
  const trainer = new Trainer(model, {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, decay: 'matrices' },
    ...{ gradientClip: 1, checkpointBlocks: false, stateful: false, key: KEY },
  });
  const stream = Int32Array.from(uniform(KEY, B * T + 1, 0, V), Math.floor);
  const batch = { B, T, tokens: stream.slice(0, -1), targets: stream.slice(1), reset: null };
  let index = 0;
  return {
    name: `training step, ${count} blocks of width ${dim}, B${B} T${T}`,
    flops: 3 * B * T * (model.backbone.flopsPerToken(T) + 2 * dim * V),
    async run(calls) {
      for (let call = 0; call < calls; call++) await trainer.step([batch], 1e-4, index++);
    },
  };
}

/** @param isSoftware  whether to take small sizes. Lines are made one after the other, as they are asked for. */
export async function* linesFor(device: Device, isSoftware: boolean, products: Products): AsyncGenerator<Line> {
  for (const of of casesFor(isSoftware)) yield await caseLine(device, of, products);
  yield* mlstmLines(device, isSoftware ? [2, 128, 2, 64] : [8, 1024, 4, 128]);
  yield* slstmLines(device, isSoftware ? [2, 64, 2, 32] : [16, 256, 4, 64]);
  yield isSoftware ? trainingLine(device, 64, 2, 2, 64) : trainingLine(device, 512, 8, 8, 512);
}
