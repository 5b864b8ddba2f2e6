/** @file What a worker of a page runs: trains a small model on the GPU, generates from it, and takes it to files and back. */
import {
  ByteTokenizer,
  createBatches,
  decode,
  LanguageModel,
  modelFiles,
  modelFingerprint,
  modelFromFiles,
  openDevice,
  randomKey,
  textPart,
  Trainer,
} from '../../src/browser.js';

/** What the worker tells the test. */
export interface WorkerReport {
  /** Mean loss of each step, in nats. */
  readonly losses: readonly number[];
  /** Greedy text of the trained model, and of the same from its files. */
  readonly texts: readonly [trained: string, fromFiles: string];
  readonly fingerprints: readonly [trained: string, fromFiles: string];
  /** The files, for Node to read. */
  readonly config: string;
  readonly weights: Uint8Array;
}

const STEPS = 20;
const TEXT = 'the quick brown fox jumps over the lazy dog. '.repeat(40);

async function greedy(model: LanguageModel, tokenizer: ByteTokenizer): Promise<string> {
  const tokens: number[] = [];
  for await (const token of decode(model, tokenizer.encode('the '), { maxTokens: 12, temperature: 0 })) {
    tokens.push(token);
  }
  return tokenizer.decode(tokens);
}

async function train(): Promise<WorkerReport> {
  const device = await openDevice();
  const tokenizer = new ByteTokenizer();
  const config = {
    ...{ vocabSize: tokenizer.vocabSize, dim: 32, blocks: ['mlstm', 'slstm'] },
    ...{ mlstm: { heads: 2 }, slstm: { heads: 2 } },
  };
  const model = LanguageModel.create(config, device, 1);
  const batches = createBatches(textPart([TEXT], tokenizer), { B: 4, T: 32 });
  const trainer = new Trainer(model, {
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, decay: 'matrices' },
    ...{ gradientClip: 1, checkpointBlocks: false, stateful: false, key: randomKey(1) },
  });
  const losses: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    const { loss } = await trainer.step([batches.batchAt(step)], 5e-3, step);
    losses.push(loss);
  }
  const files = await modelFiles(model, { tokenizer: tokenizer.fingerprint() });
  const again = modelFromFiles(files, device).model;
  return {
    losses,
    texts: [await greedy(model, tokenizer), await greedy(again, tokenizer)],
    fingerprints: [await modelFingerprint(model), await modelFingerprint(again)],
    config: files['config.json'],
    weights: files['model.safetensors'],
  };
}

/** A worker's own, which Node's types do not have. */
const worker = globalThis as unknown as { postMessage(message: unknown, transfer: readonly unknown[]): void };
const answer = await train().then(
  (report) => ({ report }),
  (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
);
worker.postMessage(answer, 'report' in answer ? [answer.report.weights.buffer] : []);
