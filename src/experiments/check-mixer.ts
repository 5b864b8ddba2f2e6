/**
 * @file Puts a sequence mixer through what every mixer must hold: right gradients, step = sequence over any cut, no output
 * that depends on what comes later, and documents in one row that do not see each other. For the library's mixers (in its
 * tests) and for a user's own (`xlstm check`). It tests no kernels; `device/selftest` does.
 */
import type { Device } from '../device/device.js';
import { createReferenceDevice } from '../device/reference/reference.js';
import type { ParameterTensors } from '../layers/parameter.js';
import type { MixerDefinition } from '../mixers/definition.js';
import { initialState, type MixerContext, type MixerState, type Outputs } from '../mixers/mixer.js';
import { lastStep } from '../ops/time.js';
import { fold, normal, type RandomKey } from '../tensor/random.js';
import { scope } from '../tensor/scope.js';
import { backward } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { makeSubject, type Subject, type SubjectOptions } from './check-subject.js';

export interface MixerCheck {
  /** What was checked: "gradient of x on cpu". */
  readonly name: string;
  /** RMS(error) / RMS(expected), or the relative gap of two inner products for a gradient. */
  readonly error: number;
  readonly tolerance: number;
  /** What it means where the error is above the tolerance. */
  readonly meaning: string;
}

export const passes = ({ error, tolerance }: MixerCheck): boolean => error <= tolerance;

export interface CheckOptions extends SubjectOptions {
  /** Default: the reference alone. */
  readonly devices?: readonly Device[];
}

/** float64 differs by the order of operations, and differences by their step; float32 by its 24 bits. */
const TOLERANCES = { float64: { gradient: 1e-6, value: 1e-9 }, float32: { gradient: 1e-3, value: 5e-5 } };

const [B, T] = [2, 11];
/** Central differences in float64: their error is about its square plus 1e-16 over it; norms of small heads bend sharply. */
const STEP = 1e-6;

const parametersOn = ({ mixer, values }: Subject, device: Device): ParameterTensors =>
  Object.fromEntries(
    [...values].map(([name, data]) => [name, Tensor.from(device, data, mixer.parameters[name]!.shape)]),
  );

const FRESH: MixerContext = { state: null, wantState: true, reset: null, key: null };

/** x [B,T,D] cut along time. */
function slice(x: Float64Array, batch: number, D: number, from: number, to: number): Float64Array {
  const steps = x.length / batch / D;
  const out = new Float64Array(batch * (to - from) * D);
  for (let b = 0; b < batch; b++) {
    out.set(x.subarray((b * steps + from) * D, (b * steps + to) * D), b * (to - from) * D);
  }
  return out;
}

/** Runs `body` in a scope and reads back what it returns. */
async function read(device: Device, body: () => Tensor): Promise<Float64Array> {
  const y = scope(device, {}, body);
  const data = Float64Array.from(await y.data());
  y.dispose();
  return data;
}

const sequence = (subject: Subject, device: Device, x: Float64Array, batch: number): Promise<Float64Array> =>
  read(device, () => {
    const input = Tensor.from(device, x, [batch, x.length / batch / subject.dim, subject.dim]);
    return subject.mixer.forward(parametersOn(subject, device), input, FRESH)[0];
  });

function relative(actual: Float64Array, expected: Float64Array): number {
  let [error, norm] = [0, 0];
  for (let k = 0; k < expected.length; k++) {
    error += (actual[k]! - expected[k]!) ** 2;
    norm += expected[k]! ** 2;
  }
  return Number.isNaN(error) ? Infinity : Math.sqrt(error / (norm + 1e-30));
}

/** The same sequence in pieces, the state carried: pieces of one step by `step`, longer ones by `forward`. */
async function inPieces(
  subject: Subject,
  device: Device,
  x: Float64Array,
  ends: readonly number[],
): Promise<Float64Array> {
  const { mixer, dim: D } = subject;
  const out = new Float64Array(x.length);
  const p = parametersOn(subject, device);
  let state: MixerState = initialState(mixer, device, B);
  let from = 0;
  for (const to of ends) {
    const before = state;
    const { y, next } = scope(device, {}, () => {
      const piece = Tensor.from(device, slice(x, B, D, from, to), to - from === 1 ? [B, D] : [B, to - from, D]);
      const run = to - from === 1 ? mixer.step(p, piece, before) : mixer.forward(p, piece, { ...FRESH, state: before });
      return { y: run[0], next: { ...run[1] } };
    });
    const data = await y.data();
    for (let b = 0; b < B; b++) {
      out.set(data.subarray(b * (to - from) * D, (b + 1) * (to - from) * D), (b * T + from) * D);
    }
    y.dispose();
    for (const tensor of Object.values(before)) tensor.dispose();
    state = next;
    from = to;
  }
  for (const tensor of [...Object.values(state), ...Object.values(p)]) tensor.dispose();
  return out;
}

/** Ends of pieces, drawn: each step is the end of one with probability 1/2. */
function randomCuts(key: RandomKey): number[] {
  const draws = normal(key, T);
  return [...allSteps.slice(0, -1).filter((_, t) => draws[t]! > 0), T];
}

const allSteps = Array.from({ length: T }, (_, t) => t + 1);

async function checkCuts(subject: Subject, device: Device, x: Float64Array): Promise<MixerCheck[]> {
  const whole = await sequence(subject, device, x, B);
  const tolerance = TOLERANCES[device.precision].value;
  const random = (k: number) => randomCuts(fold(fold(subject.key, 'cuts'), k));
  const cuts = [
    ['step by step', allSteps],
    ['in pieces', [3, 4, 9, T]],
    ['in pieces, then steps', [7, 8, 9, 10, T]],
    ...[0, 1, 2].map((k) => [`cut at random (${random(k).join(' ')})`, random(k)] as const),
  ] as const;
  const checks: MixerCheck[] = [];
  for (const [name, ends] of cuts) {
    const error = relative(await inPieces(subject, device, x, ends), whole);
    const meaning = 'the sequence form does not agree with the step form when the state is carried';
    checks.push({ name: `${name} = sequence on ${device.name}`, error, tolerance, meaning });
  }
  return checks;
}

async function checkCausality(subject: Subject, device: Device, x: Float64Array): Promise<MixerCheck> {
  const { dim: D } = subject;
  const before = await sequence(subject, device, x, B);
  let worst = 0;
  for (const t of [1, 5, T - 1]) {
    const noise = normal(fold(subject.key, t), B * D);
    const changed = x.slice();
    for (let b = 0; b < B; b++) for (let d = 0; d < D; d++) changed[(b * T + t) * D + d]! += noise[b * D + d]!;
    const after = await sequence(subject, device, changed, B);
    worst = Math.max(worst, relative(slice(after, B, D, 0, t), slice(before, B, D, 0, t)));
  }
  return {
    name: `causality on ${device.name}`,
    error: worst,
    tolerance: TOLERANCES[device.precision].value,
    meaning: 'an output depends on a later input; say so with `causal: false`',
  };
}

/** The last output, and the state behind it, as they are and where no other output is wanted. */
async function checkLastOutput(subject: Subject, device: Device, x: Float64Array): Promise<MixerCheck[]> {
  const { mixer, dim: D } = subject;
  const run = async (outputs: Outputs): Promise<Record<string, Float64Array>> => {
    const made = scope(device, {}, () => {
      const [y, state] = mixer.forward(parametersOn(subject, device), Tensor.from(device, x, [B, T, D]), {
        ...FRESH,
        outputs,
      });
      return { ...state, y: lastStep(y) };
    });
    const values = Object.entries(made).map(async ([name, tensor]) => {
      const data = Float64Array.from(await tensor.data());
      tensor.dispose();
      return [name, data] as const;
    });
    return Object.fromEntries(await Promise.all(values));
  };
  const [all, last] = [await run('all'), await run('last')];
  return Object.entries(all).map(([name, expected]) => ({
    name: `${name === 'y' ? 'last output' : `state ${name}`} where it alone is wanted on ${device.name}`,
    error: relative(last[name] ?? new Float64Array(0), expected),
    tolerance: TOLERANCES[device.precision].value,
    meaning: "with `outputs: 'last'` the last output or the state is another one",
  }));
}

async function checkPacking(subject: Subject, device: Device, x: Float64Array): Promise<MixerCheck> {
  const { mixer, dim: D } = subject;
  const starts = [0, 4, 5];
  const reset = Uint8Array.from({ length: B * T }, (_, k) => (starts.includes(k % T) ? 1 : 0));
  const packed = await read(device, () => {
    const context = { ...FRESH, reset: Tensor.from(device, reset, [B, T]) };
    return mixer.forward(parametersOn(subject, device), Tensor.from(device, x, [B, T, D]), context)[0];
  });
  let worst = 0;
  for (const [k, from] of starts.entries()) {
    const to = starts[k + 1] ?? T;
    const apart = await sequence(subject, device, slice(x, B, D, from, to), B);
    worst = Math.max(worst, relative(slice(packed, B, D, from, to), apart));
  }
  return {
    name: `packed = separate on ${device.name}`,
    error: worst,
    tolerance: TOLERANCES[device.precision].value,
    meaning: 'a document sees something of the one before it in the row; honour `reset`',
  };
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, k) => sum + value * b[k]!, 0);
const norm = (a: Float64Array): number => Math.sqrt(dot(a, a));

/** <u, y> as a function of x and the parameters, moved along one of them. */
async function projected(
  subject: Subject,
  x: Float64Array,
  u: Float64Array,
  move: { readonly name: string; readonly along: Float64Array; readonly by: number },
): Promise<number> {
  const moved = (name: string, data: Float64Array): Float64Array =>
    name === move.name ? data.map((value, k) => value + move.by * move.along[k]!) : data;
  const values = new Map([...subject.values].map(([name, data]) => [name, moved(name, data)]));
  return dot(u, await sequence({ ...subject, values }, createReferenceDevice(), moved(INPUT, x), B));
}

const INPUT = 'x';
/**
 * A gradient that is so much smaller than the largest, per element, counts as rounding: that of a bias of keys without
 * rotary positions is zero, since softmax does not see what is the same for all keys.
 */
const NEGLIGIBLE = 1e-3;

/** Gradients of <u, y> by the tape. */
async function gradients(subject: Subject, device: Device, x: Float64Array, u: Float64Array) {
  const found = scope(device, { record: true }, () => {
    const p = parametersOn(subject, device);
    const input = Tensor.from(device, x, [B, T, subject.dim]);
    const inputs: Record<string, Tensor> = { ...p, [INPUT]: input };
    for (const tensor of Object.values(inputs)) tensor.requiresGrad = true;
    const [y] = subject.mixer.forward(p, input, { ...FRESH, wantState: false });
    backward([[y, Tensor.from(device, u, y.shape)]]);
    return Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.gradTensor()]));
  });
  const entries = await Promise.all(
    Object.entries(found).map(async ([name, tensor]) => [name, Float64Array.from(await tensor.data())] as const),
  );
  for (const tensor of Object.values(found)) tensor.dispose();
  return new Map(entries);
}

async function checkGradients(subject: Subject, device: Device, x: Float64Array): Promise<MixerCheck[]> {
  const u = normal(fold(subject.key, 'u'), x.length);
  const checks: MixerCheck[] = [];
  const byTape = await gradients(subject, device, x, u);
  const largest = Math.max(...[...byTape.values()].map((g) => norm(g) / Math.sqrt(g.length)));
  for (const [name, gradient] of byTape) {
    const along = normal(fold(fold(subject.key, 'along'), name), gradient.length);
    const [high, low] = [
      await projected(subject, x, u, { name, along, by: STEP }),
      await projected(subject, x, u, { name, along, by: -STEP }),
    ];
    const gap = Math.abs((high - low) / (2 * STEP) - dot(gradient, along));
    const floor = NEGLIGIBLE * largest * Math.sqrt(gradient.length) * norm(along);
    const error = gap / (norm(gradient) * norm(along) + floor + 1e-6);
    checks.push({
      name: `gradient of ${name} on ${device.name}`,
      error: Number.isNaN(error) ? Infinity : error,
      tolerance: TOLERANCES[device.precision].gradient,
      meaning: 'back-propagation does not give the derivative of the forward pass',
    });
  }
  return checks;
}

/** What one part of the checks is about, where it cannot even be carried out. */
async function guarded(what: string, body: () => Promise<readonly MixerCheck[]>): Promise<readonly MixerCheck[]> {
  try {
    return await body();
  } catch (error) {
    const meaning = `the mixer threw: ${error instanceof Error ? error.message : String(error)}`;
    return [{ name: what, error: Infinity, tolerance: 0, meaning }];
  }
}

/**
 * Every check of a mixer. Those that do not apply to it (a step form of one that looks ahead) are left out.
 * @throws RangeError or ConfigError when the options do not fit the width.
 */
export async function checkMixer(definition: MixerDefinition, options: CheckOptions = {}): Promise<MixerCheck[]> {
  const subject = makeSubject(definition, options);
  const devices = options.devices ?? [createReferenceDevice()];
  const x = normal(fold(subject.key, INPUT), B * T * subject.dim);
  const checks: MixerCheck[] = [];
  for (const device of devices) {
    const part = async (what: string, body: () => Promise<readonly MixerCheck[]>) =>
      checks.push(...(await guarded(`${what} on ${device.name}`, body)));
    await part('gradients', () => checkGradients(subject, device, x));
    await part('packed = separate', async () => [await checkPacking(subject, device, x)]);
    if (!subject.mixer.causal) continue;
    await part('last output', () => checkLastOutput(subject, device, x));
    await part('causality', async () => [await checkCausality(subject, device, x)]);
    await part('steps = sequence', () => checkCuts(subject, device, x));
  }
  return checks;
}
