/**
 * @file What a model wrote and read: runs it over a text and takes the inputs of every mLSTM and sLSTM cell to the host, head
 * by head. What can be asked of a head is in `mlstm-head.ts` and `slstm-head.ts`. It changes nothing in the model.
 */
import type { Device, FloatArray } from '../../device/device.js';
import type { CellRecord, MlstmRecord, SlstmRecord } from '../../mixers/cell-record.js';
import { scope } from '../../tensor/scope.js';
import { formatShape } from '../../tensor/shape.js';
import { Tensor } from '../../tensor/tensor.js';
import type { Backbone, ForwardOptions } from '../backbone.js';
import type { ModelState } from '../state.js';
import { MlstmHeadTrace } from './mlstm-head.js';
import { SlstmHeadTrace, type SlstmHeadData } from './slstm-head.js';

/** A language model or a sequence model. */
export interface TraceableModel {
  readonly device: Device;
  readonly backbone: Backbone;
  forward(x: Tensor, options: ForwardOptions): unknown;
}

export interface TraceOptions {
  /** State after what came before, which stays as it is; null (the default) to start afresh. */
  readonly state?: ModelState | null;
}

/** Of one block, its heads in order; a mixer that is neither mLSTM nor sLSTM has none. */
export type BlockTrace =
  | { readonly kind: 'mlstm'; readonly mixer: string; readonly heads: readonly MlstmHeadTrace[] }
  | { readonly kind: 'slstm'; readonly mixer: string; readonly heads: readonly SlstmHeadTrace[] }
  | { readonly kind: 'other'; readonly mixer: string; readonly heads: readonly [] };

export interface ModelTrace {
  /** T */
  readonly steps: number;
  readonly blocks: readonly BlockTrace[];
}

/**
 * Runs a model over one text and keeps what its memories were given: about 3 DK + 2 DV numbers per step of an mLSTM head, and
 * 12 DH of an sLSTM head, in float64. It works on every device, with the device's own numbers.
 * @param input  tokens [T], or for a model of vectors a tensor [1,T,width]
 * @throws RangeError for an empty text or more than one sequence.
 */
export async function traceModel(
  model: TraceableModel,
  input: ArrayLike<number> | Tensor,
  { state = null }: TraceOptions = {},
): Promise<ModelTrace> {
  const { device, backbone } = model;
  const shape = input instanceof Tensor ? input.shape : [1, input.length];
  const steps = shape[1] ?? 0;
  if (shape[0] !== 1 || steps === 0) {
    throw new RangeError(`traceModel: the input must be one sequence of at least one step, got ${formatShape(shape)}`);
  }
  const traces = new Map<number, Promise<BlockTrace>>();
  scope(device, {}, () => {
    const x = input instanceof Tensor ? input : Tensor.from(device, Int32Array.from(input), shape);
    const observe = (block: number, record: CellRecord) => {
      const { kind: mixer } = backbone.blocks[block]!.mixer;
      traces.set(block, record.kind === 'mlstm' ? mlstmBlock(mixer, record) : slstmBlock(mixer, record));
    };
    model.forward(x, { state, observe });
  });
  const blocks = backbone.blocks.map(
    async ({ mixer }, block): Promise<BlockTrace> =>
      traces.get(block) ?? { kind: 'other', mixer: mixer.kind, heads: [] },
  );
  return { steps, blocks: await Promise.all(blocks) };
}

/** Values of tensors of the pass: every read is enqueued before this returns for the first time. */
const read = (tensors: readonly Tensor[]): Promise<FloatArray[]> => Promise.all(tensors.map((tensor) => tensor.data()));

async function mlstmBlock(mixer: string, { inputs, options, state, h }: MlstmRecord): Promise<BlockTrace> {
  const { q, k, v, i, f } = inputs;
  const [T, NH] = [i.extent(1), i.extent(2)];
  const before = state === null ? null : read([state.C, state.n, state.m]);
  const [Q, K, V, I, F, H] = (await read([q, k, v, i, f, h])) as [
    ...[FloatArray, FloatArray, FloatArray],
    ...[FloatArray, FloatArray, FloatArray],
  ];
  const states = await before;
  const scale = 1 / Math.sqrt(q.extent(2) / NH);
  const heads = Array.from({ length: NH }, (_, head) => {
    const of = (values: FloatArray) => columns(values, T, NH, head);
    const [C, n, m] = (states ?? []).map((values) => columns(values, 1, NH, head));
    const data = { q: of(Q).map((x) => x * scale), k: of(K), v: of(V), iPre: of(I), fPre: of(F), h: of(H) };
    return new MlstmHeadTrace({ ...data, before: states === null ? null : { C: C!, n: n!, m: m! } }, options);
  });
  return { kind: 'mlstm', mixer, heads };
}

async function slstmBlock(mixer: string, { gates, recurrent, bias, state, h }: SlstmRecord): Promise<BlockTrace> {
  const { i, f, z, o } = gates;
  const [T, NH] = [h.extent(1), recurrent.extent(0)];
  const before = state === null ? null : read([state]);
  const [R, b, H, ...inputs] = (await read([recurrent, bias, h, i, f, z, o])) as [FloatArray, FloatArray, FloatArray];
  const states = await before;
  const heads = Array.from({ length: NH }, (_, head) => {
    const four = inputs.map((values) => columns(values, T, NH, head)) as unknown as SlstmHeadData['gates'];
    return new SlstmHeadTrace({
      gates: four,
      recurrent: columns(R, 1, NH, head),
      bias: columns(b, 4, NH, head),
      h: columns(H, T, NH, head),
      before: states === null ? null : fourRows(columns(states[0]!, 4, NH, head)),
    });
  });
  return { kind: 'slstm', mixer, heads };
}

/** The columns of one head out of [rows,NH,width], as [rows,width]. */
function columns(values: FloatArray, rows: number, NH: number, head: number): Float64Array {
  const width = values.length / (rows * NH);
  const out = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = (row * NH + head) * width;
    out.set(values.subarray(from, from + width), row * width);
  }
  return out;
}

function fourRows(values: Float64Array): NonNullable<SlstmHeadData['before']> {
  const width = values.length / 4;
  const row = (index: number) => values.subarray(index * width, (index + 1) * width);
  return [row(0), row(1), row(2), row(3)];
}
