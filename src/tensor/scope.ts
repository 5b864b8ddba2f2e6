/**
 * @file Step-scoped memory: every tensor that an op makes belongs to the innermost scope and is freed with it.
 * It does not know what a gradient is; it only holds the tape on which ops record themselves.
 */
import type { Device } from '../device/device.js';
import type { DeviceBuffer, Dtype } from '../device/kernels.js';
import { namingWhat } from '../device/out-of-memory.js';
import type { TapeNode } from './tape.js';

export interface ScopeOptions {
  /** Whether ops record themselves for `backward`. Default false: inference. */
  readonly record?: boolean;
  /**
   * Whether a device that can may collect the kernels and run them when the scope ends, so that nothing comes between
   * them (`Device.collected`); their errors are thrown then. For long stretches: a training step, a prompt. Default false.
   */
  readonly collect?: boolean;
}

/** What can be handed out of a scope: it knows which buffers it holds. */
export interface Ownable {
  ownedBuffers(): readonly DeviceBuffer[];
}

const stacks = new WeakMap<Device, Scope[]>();

function stackOf(device: Device): Scope[] {
  let stack = stacks.get(device);
  if (stack === undefined) stacks.set(device, (stack = []));
  return stack;
}

export class Scope {
  readonly device: Device;
  readonly record: boolean;
  /** Ops in the order in which they ran. */
  readonly tape: TapeNode[] = [];
  /** The part of the model that runs now, with a slash behind it; for messages. */
  path = '';
  readonly #held = new Set<DeviceBuffer>();

  constructor(device: Device, options: ScopeOptions = {}) {
    this.device = device;
    this.record = options.record ?? false;
  }

  /** Runs `body` under a longer path. */
  within<T>(label: string, body: () => T): T {
    const outer = this.path;
    this.path = `${outer}${label}/`;
    try {
      return body();
    } finally {
      this.path = outer;
    }
  }

  alloc(dtype: Dtype, length: number): DeviceBuffer {
    const buffer = this.#allocate(dtype, length);
    this.#held.add(buffer);
    return buffer;
  }

  /** @throws what the device throws, with the part of the model in which it was. */
  #allocate(dtype: Dtype, length: number): DeviceBuffer {
    try {
      return this.device.alloc(dtype, length);
    } catch (error) {
      throw this.path === '' ? error : namingWhat(this.path.slice(0, -1), error);
    }
  }

  /** Takes responsibility for a buffer that was made elsewhere. */
  adopt(buffer: DeviceBuffer): void {
    this.#held.add(buffer);
  }

  /** Gives up a buffer without freeing it. Returns whether it was held here. */
  disown(buffer: DeviceBuffer): boolean {
    return this.#held.delete(buffer);
  }

  /** Frees a buffer before the scope ends. Does nothing for one that is not held here. */
  release(buffer: DeviceBuffer): void {
    if (this.#held.delete(buffer)) this.device.free(buffer);
  }

  end(): void {
    for (const buffer of this.#held) this.device.free(buffer);
    this.#held.clear();
    this.tape.length = 0;
  }
}

/** The innermost scope of the device, or null. */
export const innermostScope = (device: Device): Scope | null => stackOf(device).at(-1) ?? null;

/** The innermost scope. @throws Error when there is none, since the result of an op would have no owner. */
export function currentScope(device: Device): Scope {
  const scope = innermostScope(device);
  if (scope === null) {
    throw new Error('ops need a scope that owns their results: wrap the call in scope(device, () => ...)');
  }
  return scope;
}

/**
 * Runs `body` in a new scope and frees all that it made, except what it returns: tensors in the result (itself, or in
 * arrays and plain objects) pass to the enclosing scope, or to the caller, who then disposes of them.
 * `body` must not be async: a scope is a stretch of enqueued work, and reading back comes after it.
 */
export function scope<T>(device: Device, options: ScopeOptions, body: (scope: Scope) => T): T {
  const stack = stackOf(device);
  const inner = new Scope(device, options);
  const outer = stack.at(-1);
  inner.path = outer?.path ?? '';
  stack.push(inner);
  try {
    const run = (): T => body(inner);
    const result = options.collect === true && device.collected ? device.collected(run) : run();
    if (result instanceof Promise) throw new TypeError('scope: the body must not be async; read back after the scope');
    for (const buffer of ownedBuffersIn(result)) if (inner.disown(buffer)) outer?.adopt(buffer);
    return result;
  } finally {
    stack.pop();
    inner.end();
  }
}

function* ownedBuffersIn(value: unknown): Generator<DeviceBuffer> {
  if (typeof value !== 'object' || value === null) return;
  if ('ownedBuffers' in value) yield* (value as Ownable).ownedBuffers();
  else if (Array.isArray(value)) for (const item of value) yield* ownedBuffersIn(item);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) yield* ownedBuffersIn(item);
}
