/** @file What the page knows: a store that events of the worker and answers to requests change, and that views watch. */
import { useEffect, useState } from 'preact/hooks';
import { Client } from './client.js';
import type {
  DeviceFault,
  DeviceReport,
  GenerateSettings,
  ModelStatus,
  Phase,
  StepRow,
  TextChoice,
  TrainSettings,
  WorkerEvent,
} from './protocol.js';

import { MemoryStore } from './views/memory/memory-store.js';
import { SearchStore } from './views/search/search-store.js';

export type DeviceState =
  | { readonly kind: 'opening' }
  /** Lost: why the GPU is no longer there, in a sentence. */
  | ({ readonly kind: 'ready'; readonly lost: string | null } & DeviceReport)
  | { readonly kind: 'none'; readonly fault: DeviceFault; readonly message: string };

export interface PageState {
  readonly device: DeviceState;
  readonly phase: Phase;
  readonly model: ModelStatus | null;
  readonly progress: { readonly label: string; readonly share: number | null } | null;
  readonly speed: { readonly tokensPerSecond: number; readonly secondsLeft: number } | null;
  readonly sample: { readonly step: number; readonly text: string } | null;
  readonly kept: { readonly bytes: number | null; readonly problem: string | null };
  readonly generation: Generation;
  /** What went wrong last, in a sentence; null when nothing did since the last request. */
  readonly error: string | null;
  /** What a screen reader is told. */
  readonly announcement: string;
  /** Counts changes of `rows`. */
  readonly revision: number;
}

export interface Generation {
  readonly running: boolean;
  readonly prompt: string;
  readonly text: string;
  readonly result: { readonly tokens: number; readonly seconds: number } | null;
}

const NO_GENERATION: Generation = { running: false, prompt: '', text: '', result: null };

let state: PageState = {
  device: { kind: 'opening' },
  phase: 'idle',
  model: null,
  progress: null,
  speed: null,
  sample: null,
  kept: { bytes: null, problem: null },
  generation: NO_GENERATION,
  error: null,
  announcement: '',
  revision: 0,
};
/** Every step of the model's training; grows in place, as there may be many. */
export const rows: StepRow[] = [];
const watchers = new Set<() => void>();
let isDue = false;

/** Changes the state; views are told once a frame at most. */
function change(changes: Partial<PageState>): void {
  state = { ...state, ...changes };
  if (isDue) return;
  isDue = true;
  setTimeout(() => {
    isDue = false;
    for (const watcher of watchers) watcher();
  }, 16);
}

/** The state, for a component that is to follow it. */
export function usePage(): PageState {
  const [, update] = useState(state);
  useEffect(() => {
    const watcher = (): void => update(state);
    watchers.add(watcher);
    watcher(); // it may have changed since the component was drawn
    return () => void watchers.delete(watcher);
  }, []);
  return state;
}

function onEvent(event: WorkerEvent): void {
  switch (event.kind) {
    case 'status':
      onStatus(event.phase, event.model);
      break;
    case 'progress':
      change({ progress: event.progress });
      break;
    case 'history':
      rows.length = 0;
      for (const row of event.rows) rows.push(row);
      change({ revision: state.revision + 1, sample: null, speed: null });
      break;
    case 'steps':
      rows.push(...event.rows);
      change({
        model: atStep(state.model, event.rows.at(-1)!.step),
        revision: state.revision + 1,
        speed: { tokensPerSecond: event.tokensPerSecond, secondsLeft: event.secondsLeft },
      });
      break;
    case 'sample':
      change({ sample: { step: event.step, text: event.text } });
      break;
    case 'gpu':
      onGpu(event.problem);
      break;
    case 'text':
      change({ generation: { ...state.generation, text: state.generation.text + event.text } });
      break;
    case 'fault':
      change({ error: event.message, announcement: event.message });
      break;
    case 'kept':
      change({ kept: { bytes: event.bytes, problem: event.problem } });
      break;
    case 'searchSteps':
    case 'searchErrors':
    case 'searchEnded':
      search.onEvent(event);
      break;
    default:
      event satisfies never;
  }
}

/** Of the model in training, whose status comes when it begins and ends. */
function atStep(model: ModelStatus | null, step: number): ModelStatus | null {
  return model === null || model.training === null ? model : { ...model, training: { ...model.training, step } };
}

function onGpu(problem: string | null): void {
  const { device } = state;
  if (device.kind === 'ready')
    change({ device: { ...device, lost: problem }, announcement: problem ?? 'There is a GPU again.' });
}

const ANNOUNCEMENTS: Readonly<Record<Phase, (step: number) => string>> = {
  idle: () => '',
  preparing: () => 'Preparing to train.',
  training: () => 'Training.',
  stopped: (step) => `Training stopped at step ${step}.`,
  finished: (step) => `Training finished after ${step} steps.`,
};

function onStatus(phase: Phase, model: ModelStatus | null): void {
  const announcement = ANNOUNCEMENTS[phase](model?.training?.step ?? 0);
  change({ phase, model, ...(phase !== state.phase && { announcement }) });
}

export const client = new Client(onEvent);

/** What the views Memory and Search know. */
export const memory = new MemoryStore((kind, fields) => client.call(kind, fields));
export const search = new SearchStore((kind, fields) => client.call(kind, fields));

/** Does what a control asks for; what goes wrong is shown. */
async function attempt<T>(work: () => Promise<T>): Promise<T | null> {
  change({ error: null });
  try {
    return await work();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    change({ error: message, announcement: message });
    return null;
  }
}

/** Opens the device, and the model that was kept. */
export async function openPage(): Promise<void> {
  const opened = await attempt(() => client.call('open', {}));
  if (opened === null) change({ device: { kind: 'none', fault: 'other', message: state.error ?? '' } });
  else change({ device: 'fault' in opened ? { kind: 'none', ...opened } : { kind: 'ready', lost: null, ...opened } });
}

/** Asks for a GPU again after a loss. */
export const reopen = (): Promise<unknown> => attempt(() => client.call('reopen', {}));

export const train = (text: TextChoice, settings: TrainSettings): Promise<unknown> =>
  attempt(() => client.call('train', { text, settings }));

export const resume = (steps: number): Promise<unknown> => attempt(() => client.call('resume', { steps }));

export const stop = (): Promise<unknown> => attempt(() => client.call('stop', {}));

export async function generate(settings: GenerateSettings): Promise<void> {
  change({ generation: { running: true, prompt: settings.prompt, text: '', result: null } });
  const result = await attempt(() => client.call('generate', { settings }));
  const announcement = result === null ? state.announcement : `Generated ${result.tokens} tokens.`;
  change({ generation: { ...state.generation, running: false, result }, announcement });
}

export const stopGenerating = (): Promise<unknown> => attempt(() => client.call('stopGenerating', {}));

export async function openModel(picked: readonly File[]): Promise<void> {
  const files = picked.map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  await attempt(() => client.call('openModel', { files }));
  if (state.error === null) change({ generation: NO_GENERATION, announcement: 'The model is open.' });
}

export const saveModel = (zip: boolean) => attempt(() => client.call('saveModel', { zip }));

export async function forget(): Promise<void> {
  await attempt(() => client.call('forget', {}));
  change({ generation: NO_GENERATION });
}

/** Tells what a view found out itself. */
export const announce = (announcement: string, error: string | null = null): void => change({ announcement, error });
