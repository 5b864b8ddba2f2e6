/**
 * @file The tape: which op made which tensors, and the reverse walk that turns cotangents into gradients.
 * It holds no rule of any op; each op brings its own.
 */
import type { DeviceBuffer } from '../device/kernels.js';
import { formatShape } from './shape.js';
import { currentScope, type Scope } from './scope.js';
import type { Tensor } from './tensor.js';

/**
 * The rule of one recorded op: adds to the gradients of its inputs.
 * @param cotangents  one per output, null for an output that the result does not depend on
 */
export type BackwardRule = (cotangents: readonly (DeviceBuffer | null)[]) => void;

export interface TapeNode {
  /** The op, with the part of the model it ran in: "blocks.0/mlstm". */
  readonly name: string;
  readonly outputs: readonly Tensor[];
  /** Buffers that only the rule needs; freed once it ran. */
  readonly saved: readonly DeviceBuffer[];
  readonly rule: BackwardRule;
}

/** Whether an op on these inputs has to be recorded: the scope records, and a gradient can reach one of them. */
export function isRecorded(inputs: readonly (Tensor | null)[]): boolean {
  const first = inputs.find((input) => input !== null);
  return first !== undefined && currentScope(first.device).record && inputs.some((t) => t?.requiresGrad === true);
}

/** Puts an op on the tape of the current scope. Call it only where `isRecorded` was true. */
export function record(
  name: string,
  outputs: readonly Tensor[],
  saved: readonly DeviceBuffer[],
  rule: BackwardRule,
): void {
  const scope = currentScope(outputs[0]!.device);
  for (const output of outputs) output.requiresGrad = true;
  scope.tape.push({ name: scope.path + name, outputs, saved, rule });
}

export interface BackwardOptions {
  /**
   * Free each intermediate tensor and its gradient as soon as the walk has passed it (see `Tensor.retain` for
   * exceptions). Halves the memory of a training step; the tensors cannot be read afterwards. Default false.
   */
  readonly release?: boolean;
}

/**
 * Back-propagates through all that the current scope has recorded, adding to the gradients of its leaves.
 * @param roots  tensors with their cotangents (same shape; a scalar without one gets 1)
 * @throws Error when nothing was recorded.
 */
export function backward(roots: Tensor | readonly (readonly [Tensor, Tensor])[], options: BackwardOptions = {}): void {
  const pairs = Array.isArray(roots) ? (roots as readonly (readonly [Tensor, Tensor])[]) : null;
  const device = (pairs === null ? (roots as Tensor) : pairs[0]![0]).device;
  const scope = currentScope(device);
  if (scope.tape.length === 0) {
    throw new Error('backward: nothing was recorded; run the forward pass in scope(device, { record: true }, ...)');
  }
  if (pairs === null) {
    const root = roots as Tensor;
    if (root.size !== 1)
      throw new RangeError(`backward: a root without cotangent must be a scalar, got ${formatShape(root.shape)}`);
    device.kernels.fill(root.grad, 1, 1);
  } else {
    for (const [root, cotangent] of pairs) device.kernels.accumulate(root.grad, cotangent.buffer, 1, root.size);
  }
  walk(scope, options.release ?? false);
}

function walk(scope: Scope, release: boolean): void {
  for (const node of scope.tape.reverse()) {
    const cotangents = node.outputs.map((output) => output.gradIfAny);
    if (cotangents.some((cotangent) => cotangent !== null)) node.rule(cotangents);
    if (!release) continue;
    node.saved.forEach((buffer) => scope.release(buffer));
    node.outputs.forEach((output) => output.releaseTo(scope));
  }
  scope.tape.length = 0;
}
