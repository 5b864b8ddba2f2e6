/** @file What the page of `store.test.ts` does: trains, keeps models in the private file system, loses its GPU on purpose. */
import {
  ByteTokenizer,
  createBatches,
  decode,
  fetchModel,
  LanguageModel,
  modelFiles,
  modelFingerprint,
  ModelStore,
  openDevice,
  openModelFiles,
  randomKey,
  SteadyTrainer,
  streamModel,
  textPart,
  tokenizerOfFiles,
  type DeviceLostError,
  type FetchProgress,
} from '../../src/browser.js';

const tokenizer = new ByteTokenizer();
const config = { vocabSize: tokenizer.vocabSize, dim: 16, blocks: ['slstm'], slstm: { heads: 2 } };
const batches = createBatches(textPart(['the quick brown fox jumps over the lazy dog. '.repeat(40)], tokenizer), {
  B: 2,
  T: 16,
});

interface Outcome {
  readonly losses: readonly number[];
  readonly lost: readonly string[];
  /** Where training went on after each loss. */
  readonly from: readonly number[];
}

/** Trains; the GPU is destroyed in the middle of the step `destroyAt`. */
async function train(steps: number, destroyAt: number | null): Promise<Outcome & { model: LanguageModel }> {
  const [losses, lost, from]: [number[], string[], number[]] = [[], [], []];
  const steady = await SteadyTrainer.start(LanguageModel.create(config, await openDevice(), 1), {
    trainer: {
      optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, decay: 'matrices' },
      ...{ gradientClip: 1, checkpointBlocks: false, stateful: false, key: randomKey(1) },
    },
    openDevice: () => openDevice(),
    snapshotEvery: 3,
    onLost({ reason, message }: DeviceLostError, step) {
      lost.push(`${reason}: ${message}`);
      from.push(step);
    },
  });
  let wanted = destroyAt;
  while (steady.nextStep < steps) {
    const running = steady.step({ batches: (step) => [batches.batchAt(step)], learningRate: () => 5e-3 });
    if (steady.nextStep === wanted) {
      wanted = null;
      (steady.model.device as unknown as { gpuDevice: GPUDevice }).gpuDevice.destroy();
    }
    const { step, loss } = await running;
    losses[step] = loss;
  }
  return { losses, lost, from, model: steady.model };
}

async function greedy(model: LanguageModel): Promise<string> {
  const tokens: number[] = [];
  for await (const token of decode(model, tokenizer.encode('the '), { maxTokens: 8, temperature: 0 }))
    tokens.push(token);
  return tokenizer.decode(tokens);
}

const told = (error: unknown): string => `${(error as Error).name}: ${(error as Error).message}`;

const actions = {
  async trainWithLoss(): Promise<{ whole: Outcome; broken: Outcome }> {
    const { model: _, ...whole } = await train(8, null);
    const { model: __, ...broken } = await train(8, 4);
    return { whole, broken };
  },
  async save(name: string, seed: number): Promise<{ fingerprint: string; text: string }> {
    const model = LanguageModel.create(config, await openDevice(), seed);
    const files = { ...(await modelFiles(model, { tokenizer: tokenizer.fingerprint() })), ...tokenizer.files() };
    await (await ModelStore.open()).save(name, Object.entries(files));
    return { fingerprint: await modelFingerprint(model), text: await greedy(model) };
  },
  async open(name: string): Promise<{ fingerprint: string; text: string }> {
    const files = await (await ModelStore.open()).open(name);
    const { model, facts } = await openModelFiles(files, await openDevice(), { storage: 'stored' });
    if ((await tokenizerOfFiles(files)).fingerprint() !== facts.tokenizer) throw new Error('another tokenizer');
    return { fingerprint: await modelFingerprint(model), text: await greedy(model) };
  },
  async list() {
    return (await ModelStore.open()).list();
  },
  async remove(name: string): Promise<void> {
    await (await ModelStore.open()).remove(name);
  },
  /** Saves so many bytes. @returns what the error says */
  async saveBytes(name: string, bytes: number): Promise<string> {
    const store = await ModelStore.open();
    const content = new Map([['model.safetensors', new Uint8Array(bytes)]]);
    return store.save(name, content).then(() => 'saved', told);
  },
  /** As a download whose size nobody knows. @returns what the error says */
  async saveStream(name: string, bytes: number): Promise<string> {
    const store = await ModelStore.open();
    const stream = new Blob([new Uint8Array(bytes)]).stream() as ReadableStream<Uint8Array>;
    const files = (async function* () {
      yield { name: 'model.safetensors', size: null, stream };
    })();
    return store.save(name, files).then(() => 'saved', told);
  },
  /** Begins to save what never ends. */
  async saveForEver(name: string): Promise<void> {
    const store = await ModelStore.open();
    const stream = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new Uint8Array(5000)) });
    const files = (async function* () {
      yield { name: 'config.json', size: null, stream };
    })();
    await new Promise<void>((resolve) => {
      void store.save(name, files, { onProgress: () => resolve() });
    });
  },
  async download(name: string, address: string) {
    const progress: FetchProgress[] = [];
    const options = { onProgress: (one: FetchProgress) => progress.push(one) };
    const fetched = await fetchModel(address, options);
    const stored = await (await ModelStore.open()).save(name, streamModel(address));
    return { names: [...fetched.keys()].sort(), last: progress.at(-1), stored };
  },
};

export type Actions = typeof actions;

Object.assign(globalThis, actions);
