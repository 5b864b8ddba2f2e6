/**
 * @file Every sequence mixer side by side on one CPU thread: a forward and a backward pass at B8 T1024 D256 with its time,
 * memory and share of the machine's peak, and how both grow with T. Each mixer is first proved right (gradients, cuts,
 * causality, packing against the float64 reference). Run it alone with `npx tsx bench/mixers.ts [--only NAME] [--svg FOLDER]`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { createCpuDevice } from '../src/device/cpu/cpu.js';
import type { Device } from '../src/device/device.js';
import { createReferenceDevice } from '../src/device/reference/reference.js';
import { checkMixer, passes } from '../src/experiments/check-mixer.js';
import { standaloneFigure } from '../src/experiments/report/chart.js';
import { formatBytes } from '../src/format.js';
import { initialValues } from '../src/layers/parameter.js';
import type { Mixer } from '../src/mixers/mixer.js';
import { LENGTH_OPTIONS } from '../src/mixers/options.js';
import { findMixer, mixerNames } from '../src/mixers/registry.js';
import { createBlock, placeOf } from '../src/model/block.js';
import { modelConfigSchema } from '../src/model/config.js';
import { fold, normal, randomKey } from '../src/tensor/random.js';
import { scope } from '../src/tensor/scope.js';
import { backward } from '../src/tensor/tape.js';
import { Tensor } from '../src/tensor/tensor.js';
import { median, printTable } from './table.js';
import { measurePeak } from './peak.js';

const [B, T, D] = [8, 1024, 256];
/** Lengths of the growth plot, at B * T tokens held constant where possible. */
const LENGTHS = [256, 512, 1024, 2048, 4096, 8192];
const GROWTH_TOKENS = 8192;

/** A mixer that can take, and see back over, so many steps. */
function create(name: string, steps: number): Mixer {
  const fields = Object.keys(findMixer(name)!.options.shape).filter((field) => LENGTH_OPTIONS.includes(field));
  const options = Object.fromEntries(fields.map((field) => [field, steps]));
  const config = modelConfigSchema.parse({ dim: D, blocks: [name, name], [name]: options });
  return createBlock(config, placeOf(config, 0)).mixer;
}

/** A tensor with a gradient that outlives scopes. */
function leaf(device: Device, data: Float64Array, shape: readonly number[]) {
  const tensor = Tensor.from(device, data, shape);
  const gradient = device.alloc('float', tensor.size);
  device.kernels.fill(gradient, 0, tensor.size);
  tensor.attachGrad(gradient);
  const dispose = (): void => {
    tensor.dispose();
    device.free(gradient);
  };
  return { tensor, dispose };
}

/** Seconds of a forward pass without and of both passes, the median of `rounds`, and the most memory held. */
function measure(device: Device, mixer: Mixer, batch: number, steps: number, rounds: number) {
  const leaves = Object.entries(mixer.parameters).map(([name, spec]) => {
    return [name, leaf(device, initialValues(spec, fold(randomKey(0), name)), spec.shape)] as const;
  });
  const parameters = Object.fromEntries(leaves.map(([name, { tensor }]) => [name, tensor]));
  const context = { state: null, wantState: false, reset: null, key: null };
  const shape = [batch, steps, D];
  const input = leaf(device, normal(randomKey(1), batch * steps * D), shape);
  const dy = Tensor.from(device, normal(randomKey(2), batch * steps * D), shape);
  const [forward, both]: [number[], number[]] = [[], []];
  const held = device.memory.bytes;
  device.memory.resetPeak();
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now();
    scope(device, {}, () => void mixer.forward(parameters, input.tensor, context));
    const middle = performance.now();
    scope(device, { record: true }, () => {
      const [y] = mixer.forward(parameters, input.tensor, context);
      backward([[y, dy]], { release: true });
    });
    const end = performance.now();
    if (round === 0) continue; // the pool of memory fills up
    forward.push((middle - start) / 1e3);
    both.push((end - middle) / 1e3);
  }
  const memory = device.memory.peak - held;
  for (const { dispose } of [input, ...leaves.map(([, one]) => one)]) dispose();
  dy.dispose();
  return { forward: median(forward), both: median(both), memory };
}

/** @throws Error naming what a mixer does wrong. */
async function prove(name: string, device: Device): Promise<number> {
  const checks = await checkMixer(findMixer(name)!, { dim: 64, devices: [createReferenceDevice(), device] });
  const wrong = checks.find((check) => !passes(check));
  if (wrong !== undefined) throw new Error(`${name}: ${wrong.name} is ${wrong.error}: ${wrong.meaning}`);
  return checks.length;
}

interface Row {
  readonly name: string;
  readonly forward: number;
  readonly both: number;
  readonly memory: number;
  readonly share: number;
  readonly growth: readonly { readonly steps: number; readonly perToken: number }[];
}

export async function benchMixers(
  options: { only?: string | undefined; svg?: string | undefined } = {},
): Promise<void> {
  const device = createCpuDevice({ threads: 1 });
  const names = options.only === undefined ? mixerNames() : [options.only];
  let checks = 0;
  for (const name of names) checks += await prove(name, device);
  console.log(`\nchecked: ${checks} gradients, cuts and other properties of ${names.length} mixers`);
  const peak = measurePeak(1, 1).flops;
  const rows: Row[] = [];
  for (const name of names) {
    const mixer = create(name, T);
    const { forward, both, memory } = measure(device, mixer, B, T, 3);
    const growth = LENGTHS.map((steps) => {
      const batch = Math.max(1, Math.floor(GROWTH_TOKENS / steps));
      return { steps, perToken: measure(device, create(name, steps), batch, steps, 1).both / (batch * steps) };
    });
    const flops = 3 * mixer.flopsPerToken(T) * B * T;
    rows.push({ name, forward, both, memory, share: flops / both / peak, growth });
  }
  report(rows, peak);
  if (options.svg !== undefined) writeFigures(rows, options.svg);
}

function report(rows: readonly Row[], peak: number): void {
  console.log(
    `\nmixers alone, B${B} T${T} D${D}, float32, one thread; peak ${(peak / 1e9).toFixed(0)} GFLOP/s, backward counted as two forward passes`,
  );
  printTable(
    [
      'mixer',
      'forward ms',
      'forward + backward ms',
      'tokens/s',
      'memory',
      'share of peak',
      ...['4096 / 1024'].map((x) => `time per token ${x}`),
    ],
    rows.map(({ name, forward, both, memory, share, growth }) => {
      const at = (steps: number) => growth.find((point) => point.steps === steps)!.perToken;
      return [
        name,
        (1e3 * forward).toFixed(1),
        (1e3 * both).toFixed(1),
        ((B * T) / both).toFixed(0),
        formatBytes(memory),
        `${(100 * share).toFixed(1)} %`,
        (at(4096) / at(1024)).toFixed(2),
      ];
    }),
  );
}

function writeFigures(rows: readonly Row[], folder: string): void {
  fs.mkdirSync(folder, { recursive: true });
  const figure = standaloneFigure({
    name: 'mixers-growth',
    title: `Time of a forward and a backward pass by length (D${D}, ${GROWTH_TOKENS} tokens, one thread)`,
    x: { title: 'steps T', scale: 'log2' },
    y: { title: 'microseconds per token', scale: 'log10' },
    series: rows.map(({ name, growth }, style) => ({
      label: name,
      style,
      draw: 'both',
      points: growth.map(({ steps, perToken }) => ({ x: steps, y: 1e6 * perToken })),
    })),
    note: 'A mixer whose cost grows linearly with T is a level line here; attention rises.',
  });
  const file = path.join(folder, 'mixers-growth.svg');
  fs.writeFileSync(file, figure);
  console.log(`wrote ${file}`);
}

if (process.argv[1]?.endsWith('mixers.ts')) {
  const { values } = parseArgs({ options: { only: { type: 'string' }, svg: { type: 'string' } } });
  await benchMixers(values);
}
