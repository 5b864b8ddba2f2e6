/**
 * @file The reference device: plain TypeScript in float64. It is the definition of every kernel, it is written to be
 * read, and it never grows fast. The kernels lie beside this file, by topic; here are memory and assembly.
 */
import { float32sOf, type Device, type HostArray } from '../device.js';
import type { DeviceBuffer, Dtype, Kernels } from '../kernels.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import type { ReferenceBuffer } from './buffer.js';
import { own } from './buffer.js';
import { attention } from './attention.js';
import { positions } from './positions.js';
import { conv1d } from './conv1d.js';
import { languageModel } from './cross-entropy.js';
import { deltaRule } from './delta-rule.js';
import { dplr } from './dplr.js';
import { elementwise } from './elementwise.js';
import { linear } from './linear.js';
import { longConv } from './long-conv.js';
import { linearAttention } from './linear-attention.js';
import { linformer } from './linformer.js';
import { lstm } from './lstm.js';
import { mlstm } from './mlstm.js';
import { norms } from './norms.js';
import { packed } from './packed.js';
import { optimizer } from './optimizer.js';
import { scan } from './scan.js';
import { selectiveScan } from './selective-scan.js';
import { s4 } from './s4.js';
import { slstm } from './slstm.js';
import { stateSpace } from './state-space.js';
import { wkv } from './wkv.js';

const kernels = {
  ...elementwise,
  ...linear,
  ...packed,
  ...norms,
  ...conv1d,
  ...longConv,
  ...stateSpace,
  ...s4,
  ...slstm,
  ...lstm,
  ...mlstm,
  ...selectiveScan,
  ...wkv,
  ...scan,
  ...positions,
  ...attention,
  ...linformer,
  ...deltaRule,
  ...linearAttention,
  ...dplr,
  ...languageModel,
  ...optimizer,
} satisfies Kernels;

const newArray: Record<Dtype, (length: number) => ReferenceBuffer['data']> = {
  float: (length) => new Float64Array(length),
  bf16: (length) => new Float64Array(length),
  int32: (length) => new Int32Array(length),
  uint8: (length) => new Uint8Array(length),
};

/** A device with memory of its own; any number of them may exist. */
export function createReferenceDevice(): Device {
  let poison = false;
  let bytes = 0;
  let peak = 0;

  const allocate = (dtype: Dtype, length: number): ReferenceBuffer['data'] => {
    try {
      return newArray[dtype](length);
    } catch (cause) {
      const message = `reference: no memory for ${length} ${dtype} elements; ${bytes} bytes are held, free some of them`;
      throw Object.assign(new OutOfMemoryError(message, { cause }), { held: bytes });
    }
  };

  return {
    name: 'reference',
    precision: 'float64',
    hasBf16: true,
    kernels,
    info: { description: 'TypeScript, float64, the definition of every kernel', threads: 1 },
    absent: new Map(),

    alloc(dtype, length) {
      const data = allocate(dtype, length);
      if (poison && (dtype === 'float' || dtype === 'bf16')) data.fill(NaN);
      bytes += data.byteLength;
      peak = Math.max(peak, bytes);
      const buffer: ReferenceBuffer = { dtype, length, data, allocation: { freed: false }, isView: false };
      return buffer;
    },

    cast(y, x) {
      kernels.copy(y, x, x.length);
    },

    share(dtype, memory) {
      const source = memory instanceof Uint8Array ? memory : memory.bytes();
      const data = dtype === 'uint8' ? source : Float64Array.from(float32sOf('reference: share', source));
      bytes += data.byteLength;
      peak = Math.max(peak, bytes);
      const buffer: ReferenceBuffer = { dtype, length: data.length, data, allocation: { freed: false }, isView: false };
      return buffer;
    },

    free(buffer) {
      const { data, allocation, isView } = own(buffer);
      if (isView) throw new Error('reference: free of a view; free the buffer that it was taken from');
      allocation.freed = true;
      bytes -= data.byteLength;
    },

    view(buffer, offset, length) {
      const { dtype, data, allocation } = own(buffer);
      if (offset < 0 || length < 0 || offset + length > data.length) {
        throw new RangeError(`reference: view of ${length} elements at ${offset} leaves a buffer of ${data.length}`);
      }
      const part: ReferenceBuffer = {
        dtype,
        length,
        data: data.subarray(offset, offset + length),
        allocation,
        isView: true,
      };
      return part;
    },

    write(buffer, source) {
      const { data } = own(buffer);
      if (source.length !== data.length) {
        throw new RangeError(`reference: write of ${source.length} elements to a buffer of ${data.length}`);
      }
      data.set(source);
    },

    read: async (buffer: DeviceBuffer): Promise<HostArray> => own(buffer).data.slice(),

    memory: {
      get bytes() {
        return bytes;
      },
      get peak() {
        return peak;
      },
      resetPeak() {
        peak = bytes;
      },
    },

    get poison() {
      return poison;
    },
    set poison(on) {
      poison = on;
    },
  };
}
