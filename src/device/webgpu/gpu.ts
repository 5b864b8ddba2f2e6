/**
 * @file Runs programs on a GPU: pipelines and bind groups made once, dispatches recorded in one command buffer that is
 * submitted when somebody reads, and the errors of all that. It knows no kernel by name.
 */
import { formatBytes } from '../../format.js';
import type { HostArray } from '../device.js';
import { DeviceLostError } from '../device-lost.js';
import type { DeviceBuffer, Dtype } from '../kernels.js';
import { OutOfMemoryError } from '../out-of-memory.js';
import type { Halves } from './halves.js';
import { MemoryPool, Usage, type Memory, type WebGpuBuffer } from './buffer.js';
import type { Constants, Execution, Layout, Program } from './program.js';
import { groupsTogether, wgslOf, writtenMemories } from './program.js';

/** Bytes between the parameters of two dispatches: WebGPU's largest alignment of a uniform buffer. */
const STRIDE = 256;
/** Most dispatches of one command buffer: a whole step of training, of some 40 blocks. */
const BATCH = 4096;
/** Bytes that can be written in the middle of a command buffer. */
const UPLOAD = 1 << 18;
/** Larger buffers for reading back are not kept. */
const MOST_STAGING = 1 << 24;
/** Most workgroups of one dimension in the limits that every adapter has. */
const MOST_GROUPS = 65_535;
/** GPUShaderStage.COMPUTE */
const COMPUTE = 4;
/** Bind groups that are kept; a step of training makes the same ones again. */
const MOST_BIND_GROUPS = 8192;
/** What `fault` holds: the number of a kernel + 1, then what is wrong. */
const FAULT_WORDS = 4;

const ARRAYS = { float: Float32Array, bf16: Float32Array, int32: Int32Array, uint8: Uint8Array } as const;

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly bindLayout: GPUBindGroupLayout;
  readonly id: number;
}

interface BindLayout {
  readonly layout: GPUBindGroupLayout;
  readonly pipelineLayout: GPUPipelineLayout;
}

/** Buffers of a call by the names of the program. */
export type BufferArguments = Readonly<Record<string, DeviceBuffer | null>>;

export interface GpuOptions {
  readonly isSoftware: boolean;
  readonly hasSubgroups?: boolean;
  readonly halves?: Halves | null;
}

export class Gpu implements Execution {
  readonly device: GPUDevice;
  readonly pool: MemoryPool;
  readonly isSoftware: boolean;
  readonly hasSubgroups: boolean;
  /** For products in half precision; null for float32. */
  readonly halves: Halves | null;
  /** Where kernels report wrong data; read with everything that is read. */
  readonly fault: WebGpuBuffer;
  /** What decides about updates of parameters: see `Device.guarded`. */
  guard: { readonly scalars: WebGpuBuffer; readonly clip: number } | null = null;
  /** The kernels that report, in the order of their numbers. */
  readonly faultKernels: string[] = [];
  readonly #parameters: GPUBuffer;
  /** Where writes wait whose buffer is used by what is recorded already. */
  readonly #upload: GPUBuffer;
  #uploaded = 0;
  readonly #staged = new ArrayBuffer(STRIDE * BATCH);
  readonly #words = new Uint32Array(this.#staged);
  readonly #floats = new Float32Array(this.#staged);
  readonly #ints = new Int32Array(this.#staged);
  readonly #compiled = new Map<Program, Map<string, Compiled>>();
  #pipelines = 0;
  readonly #bindLayouts = new Map<string, BindLayout>();
  readonly #bindGroups = new Map<string, GPUBindGroup>();
  readonly #staging = new Map<number, GPUBuffer[]>();
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  #dispatches = 0;
  /** Number of the batch that is being recorded. */
  #batch = 0;
  #errors: Promise<GPUError | null>[] = [];
  #lost: { readonly message: string; readonly reason: string } | null = null;
  /** Ends the waiting of those who wait for the GPU, once it is lost. */
  readonly #waiting = new Set<() => void>();

  constructor(device: GPUDevice, { isSoftware, hasSubgroups = true, halves = null }: GpuOptions) {
    this.device = device;
    this.isSoftware = isSoftware;
    this.hasSubgroups = hasSubgroups && device.features.has('subgroups');
    this.halves = halves;
    this.pool = new MemoryPool(device);
    this.#parameters = device.createBuffer({ size: STRIDE * BATCH, usage: Usage.uniform | Usage.copyTarget });
    this.#upload = device.createBuffer({ size: UPLOAD, usage: Usage.copySource | Usage.copyTarget });
    void this.#watchLoss();
    this.#openScopes();
    this.fault = this.pool.alloc('int32', FAULT_WORDS);
    this.write(this.fault, new Int32Array(FAULT_WORDS));
  }

  async #watchLoss(): Promise<void> {
    const { reason, message } = await this.device.lost;
    this.#lost ??= { reason, message: lostSentence(reason, message) };
    for (const end of this.#waiting) end();
  }

  /**
   * Enqueues a program.
   * @param sizes      every number that the program declares
   * @param groups     workgroups; 0 does nothing
   * @param constants  what it is compiled for
   * @throws Error for buffers that do not fit, or when the device was lost.
   */
  run(
    of: Program,
    buffers: BufferArguments,
    sizes: Readonly<Record<string, number>>,
    groups: number,
    constants: Constants = {},
  ): void {
    if (groups === 0) return;
    this.#checkAlive();
    const memories: Memory[] = [];
    const layout: number[] = [];
    if (this.#dispatches === BATCH) this.flush();
    const base = (STRIDE / 4) * this.#dispatches;
    let at = base + 1 + of.sizes.length;
    for (const { name, element } of of.buffers) {
      const given = buffers[name];
      if (given === null) {
        layout.push(-1);
        at++;
        continue;
      }
      const buffer = this.pool.own(given, `${of.name}: argument ${name}`);
      const wanted = element === 'f32' ? 'float' : element === 'i32' ? 'int32' : 'uint8';
      if (buffer.dtype !== wanted) {
        throw new Error(`webgpu: ${of.name}: argument ${name} must be a ${wanted} buffer, got ${buffer.dtype}`);
      }
      let slot = memories.indexOf(buffer.memory);
      if (slot < 0) slot = memories.push(buffer.memory) - 1;
      layout.push(slot);
      this.#words[at++] = buffer.offset;
    }
    this.#words[base] = groups;
    of.sizes.forEach(({ name, type }, k) => {
      const value = sizes[name];
      if (value === undefined) throw new Error(`webgpu: ${of.name}: no value for ${name}`);
      (type === 'f32' ? this.#floats : type === 'i32' ? this.#ints : this.#words)[base + 1 + k] = value;
    });

    const compiled = this.#compile(of, layout, constants);
    const group = this.#bind(compiled, memories);
    for (const memory of memories) memory.batch = this.#batch;
    this.#encoder ??= this.device.createCommandEncoder();
    this.#pass ??= this.#encoder.beginComputePass();
    this.#pass.setPipeline(compiled.pipeline);
    this.#pass.setBindGroup(0, group, [STRIDE * this.#dispatches]);
    const dispatched = Math.ceil(groups / groupsTogether(of, this));
    const rows = Math.ceil(dispatched / MOST_GROUPS);
    this.#pass.dispatchWorkgroups(Math.ceil(dispatched / rows), rows);
    this.#dispatches++;
  }

  #compile(of: Program, layout: Layout, constants: Constants): Compiled {
    let forms = this.#compiled.get(of);
    if (forms === undefined) this.#compiled.set(of, (forms = new Map()));
    const key = `${layout.join()} ${Object.values(constants).join()}`;
    const known = forms.get(key);
    if (known !== undefined) return known;
    const code = wgslOf(of, layout, constants, this);
    const module = this.device.createShaderModule({ label: of.name, code });
    const { layout: bindLayout, pipelineLayout } = this.#bindLayout(writtenMemories(of, layout));
    const compute = { module, entryPoint: 'main' };
    const pipeline = this.device.createComputePipeline({ label: of.name, layout: pipelineLayout, compute });
    const compiled = { pipeline, bindLayout, id: this.#pipelines++ };
    forms.set(key, compiled);
    return compiled;
  }

  #bindLayout(written: readonly boolean[]): BindLayout {
    const key = written.join();
    const known = this.#bindLayouts.get(key);
    if (known !== undefined) return known;
    const most = this.device.limits.maxStorageBuffersPerShaderStage;
    if (written.length > most) {
      throw new Error(
        `webgpu: a kernel takes ${written.length} buffers, this adapter allows ${most} (maxStorageBuffersPerShaderStage)`,
      );
    }
    const parameters: GPUBufferBindingLayout = { type: 'uniform', hasDynamicOffset: true, minBindingSize: 0 };
    const layout = this.device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: COMPUTE, buffer: parameters },
        ...written.map((isWritten, k): GPUBindGroupLayoutEntry => ({
          binding: k + 1,
          visibility: COMPUTE,
          buffer: { type: isWritten ? 'storage' : 'read-only-storage' },
        })),
      ],
    });
    const made = { layout, pipelineLayout: this.device.createPipelineLayout({ bindGroupLayouts: [layout] }) };
    this.#bindLayouts.set(key, made);
    return made;
  }

  #bind({ bindLayout, id }: Compiled, memories: readonly Memory[]): GPUBindGroup {
    let key = `${id}`;
    for (const memory of memories) key += ` ${memory.id}`;
    const known = this.#bindGroups.get(key);
    if (known !== undefined) return known;
    const entries: GPUBindGroupEntry[] = memories.map(({ buffer }, k) => ({ binding: k + 1, resource: { buffer } }));
    entries.push({ binding: 0, resource: { buffer: this.#parameters, size: STRIDE } });
    const group = this.device.createBindGroup({ layout: bindLayout, entries });
    if (this.#bindGroups.size >= MOST_BIND_GROUPS) this.#bindGroups.clear();
    this.#bindGroups.set(key, group);
    return group;
  }

  /** Submits what was recorded. */
  flush(): void {
    if (this.#encoder === null) return;
    this.#pass?.end();
    this.device.queue.writeBuffer(this.#parameters, 0, this.#staged, 0, STRIDE * this.#dispatches);
    this.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = null;
    this.#pass = null;
    this.#dispatches = 0;
    this.#uploaded = 0;
    this.#batch++;
    this.#closeScopes();
    this.#openScopes();
  }

  /** Copies host data into a buffer, behind all that was enqueued before. */
  write(buffer: WebGpuBuffer, data: HostArray): void {
    const { dtype, length, memory, offset, bytes } = buffer;
    if (data.length !== length)
      throw new RangeError(`webgpu: write of ${data.length} elements to a buffer of ${length}`);
    if (length === 0) return;
    this.#checkAlive();
    const wanted = ARRAYS[dtype];
    const values = data instanceof wanted ? data : new wanted(data);
    if (dtype !== 'uint8') return this.#writeBytes(memory, 4 * offset, values);
    if (offset % 4 !== 0 || (bytes % 4 !== 0 && buffer.isView)) {
      throw new RangeError('webgpu: a write into a part of a uint8 buffer must begin and end at a multiple of 4 bytes');
    }
    const padded = bytes % 4 === 0 ? values : new Uint8Array(4 * Math.ceil(bytes / 4));
    if (padded !== values) padded.set(values);
    this.#writeBytes(memory, offset, padded);
  }

  /** Behind what is recorded where that uses the memory, else before it. */
  #writeBytes(memory: Memory, offset: number, values: HostArray): void {
    const { queue } = this.device;
    const data = values as GPUAllowSharedBufferSource;
    const { byteLength } = values;
    if (memory.batch === this.#batch && this.#uploaded + byteLength <= UPLOAD) {
      queue.writeBuffer(this.#upload, this.#uploaded, data);
      this.#copy(this.#upload, this.#uploaded, memory.buffer, offset, byteLength);
      this.#uploaded += byteLength;
      return;
    }
    if (memory.batch === this.#batch) this.flush();
    queue.writeBuffer(memory.buffer, offset, data);
  }

  /** Records a copy of bytes. */
  #copy(from: GPUBuffer, start: number, to: GPUBuffer, offset: number, bytes: number): void {
    this.#pass?.end();
    this.#pass = null;
    this.#encoder ??= this.device.createCommandEncoder();
    this.#encoder.copyBufferToBuffer(from, start, to, offset, bytes);
  }

  /**
   * The contents of a buffer once all that was enqueued before has run.
   * @throws Error for what a kernel found wrong in its data, for an error of the GPU, or when the device was lost.
   */
  async read({ dtype, length, memory, offset }: WebGpuBuffer): Promise<HostArray> {
    this.#checkAlive();
    const width = dtype === 'uint8' ? 1 : 4;
    const first = 4 * Math.floor((offset * width) / 4);
    const end = 4 * Math.ceil(((offset + length) * width) / 4);
    const room = 2 ** Math.ceil(Math.log2(end - first + 4 * FAULT_WORDS));
    const staging = this.#staging.get(room)?.pop() ?? this.#createStaging(room);
    this.#copy(this.fault.memory.buffer, 0, staging, 0, 4 * FAULT_WORDS);
    if (end > first) this.#copy(memory.buffer, first, staging, 4 * FAULT_WORDS, end - first);
    for (const copied of [this.fault.memory, memory]) copied.batch = this.#batch;
    await this.#submitted();
    await this.#settle(staging.mapAsync(1, 0, end - first + 4 * FAULT_WORDS));
    const mapped = staging.getMappedRange(0, end - first + 4 * FAULT_WORDS);
    const fault = new Int32Array(mapped, 0, FAULT_WORDS).slice();
    const data = new ARRAYS[dtype](mapped, 4 * FAULT_WORDS + offset * width - first, length).slice();
    staging.unmap();
    this.#keepStaging(room, staging);
    this.#checkFault(fault);
    return data;
  }

  /** Once what is recorded now has been submitted: what is read together, together. */
  async #submitted(): Promise<void> {
    const batch = this.#batch;
    await Promise.resolve();
    if (this.#batch === batch) this.flush();
  }

  #keepStaging(room: number, staging: GPUBuffer): void {
    const spare = this.#staging.get(room);
    if (room > MOST_STAGING) staging.destroy();
    else if (spare === undefined) this.#staging.set(room, [staging]);
    else spare.push(staging);
  }

  #createStaging(bytes: number): GPUBuffer {
    return this.device.createBuffer({ size: bytes, usage: Usage.mapRead | Usage.copyTarget });
  }

  #checkFault([kernel = 0, token, position, V]: Int32Array): void {
    if (kernel === 0) return;
    this.write(this.fault, new Int32Array(FAULT_WORDS));
    const name = this.faultKernels[kernel - 1];
    throw new RangeError(
      `webgpu: ${name}: token ${token} at position ${position} lies outside of the vocabulary 0..${V! - 1}`,
    );
  }

  /** Waits for a result of the GPU; what went wrong on the way comes first. */
  async #settle(result: Promise<unknown>): Promise<void> {
    const outcome = await new Promise<string | null>((resolve) => {
      const end = (outcome: string | null): void => {
        this.#waiting.delete(lost);
        resolve(outcome);
      };
      const lost = (): void => end(null);
      this.#waiting.add(lost);
      result.then(
        () => end(null),
        (error: unknown) => end(error instanceof Error ? error.message : String(error)),
      );
    });
    if (outcome !== null) await soon(this.device.lost);
    this.#checkAlive();
    const errors = this.#errors;
    this.#errors = [];
    for (const error of await Promise.all(errors)) {
      if (error !== null) throw this.#errorOf(error);
    }
    if (outcome !== null) throw new Error(`webgpu: reading back failed: ${outcome}`);
  }

  #errorOf(error: GPUError): Error {
    const said = error.message.trim();
    if (error.constructor.name !== 'GPUOutOfMemoryError') return new Error(`webgpu: ${said}`);
    const held = this.pool.bytes;
    const message = `webgpu: the GPU has no memory left (buffers hold ${formatBytes(held)}): ${said}`;
    return Object.assign(new OutOfMemoryError(message), { held });
  }

  #checkAlive(): void {
    if (this.#lost !== null) throw new DeviceLostError(this.#lost.message, this.#lost.reason);
  }

  #openScopes(): void {
    for (const filter of ['validation', 'out-of-memory', 'internal'] as const) this.device.pushErrorScope(filter);
  }

  #closeScopes(): void {
    for (let k = 0; k < 3; k++) this.#errors.push(this.device.popErrorScope().catch(() => null));
  }

  /** New memory; its contents are unspecified. */
  alloc(dtype: Dtype, length: number): WebGpuBuffer {
    this.#checkAlive();
    return this.pool.alloc(dtype, length);
  }

  view(buffer: DeviceBuffer, offset: number, length: number): WebGpuBuffer {
    return this.pool.view(this.pool.own(buffer, 'view: its argument'), offset, length);
  }

  /** Runs `body` with float memory of these lengths, which others may have again behind it. */
  withScratch(lengths: readonly number[], body: (...scratch: WebGpuBuffer[]) => void): void {
    const scratch = lengths.map((length) => this.alloc('float', length));
    try {
      body(...scratch);
    } finally {
      for (const buffer of scratch) this.pool.free(buffer);
    }
  }

  /** The number under which a kernel reports wrong data. */
  faultNumber(kernel: string): number {
    const known = this.faultKernels.indexOf(kernel);
    return known >= 0 ? known + 1 : this.faultKernels.push(kernel);
  }

  /** Gives all memory back and ends the device. */
  destroy(): void {
    this.device.destroy();
    this.#lost ??= { reason: 'destroyed', message: 'webgpu: the device was closed' };
  }
}

function lostSentence(reason: string, message: string): string {
  const why = message.trim() === '' ? reason : message.trim().replace(/\.$/, '');
  return `webgpu: the device was lost (${why}); what was on it is gone: open a new one and go on from the last checkpoint`;
}

/** Waits for a promise, but not for long. */
const soon = (promise: Promise<unknown>): Promise<unknown> =>
  Promise.race([promise, new Promise((resolve) => setTimeout(resolve, 200))]);
