/**
 * @file The library in a worker of a page of headless Chromium, without special headers: trains, generates, and gives a
 * model that Node reads. Skipped by name where there is no Chromium ($CHROMIUM, or that of the system).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decode } from '../../src/generate/decode.js';
import { loadModel } from '../../src/model/checkpoint.js';
import { modelFingerprint } from '../../src/model/fingerprint.js';
import { LanguageModel } from '../../src/model/language-model.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { ByteTokenizer } from '../../src/tokens/bytes.js';
import { complaintsOf, launchChromium, serve, withoutChromium, type Served } from '../support/chromium.js';
import { referenceDevice } from '../support/devices.js';
import { root } from '../support/documents.js';
import { temporaryFolder } from '../support/folders.js';
import type { WorkerReport } from './train-worker.js';

/** Starts the worker and leaves what it says in `globalThis.answer`; the weights as a list, which a test can read. */
const WORKER_PAGE = `<!doctype html><title>library</title><script type="module">
  new Worker('/worker.js', { type: 'module' }).onmessage = ({ data }) => {
    const weights = Array.from(data.report?.weights ?? []);
    globalThis.answer = data.report ? { report: { ...data.report, weights } } : data;
  };
</script>`;

/** A page without a build: the library is one file. */
const PLAIN_PAGE = `<!doctype html><title>library</title><script type="module">
  import { LanguageModel, openDevice, scope, Tensor } from '/library.js';
  const device = await openDevice();
  const model = LanguageModel.create({ vocabSize: 9, dim: 16, blocks: ['mlstm'], mlstm: { heads: 2 } }, device, 1);
  const logits = scope(device, {}, () =>
    model.logits(model.forward(Tensor.from(device, Int32Array.of(1, 2, 3), [1, 3])).hidden),
  );
  globalThis.answer = { device: device.name, logits: Array.from(await logits.data()) };
</script>`;

/** What the server gives, by path. */
async function pageFiles(): Promise<Readonly<Record<string, string>>> {
  const bundle = async (file: string): Promise<string> => {
    const { outputFiles } = await build({
      entryPoints: [path.join(root, file)],
      ...{ bundle: true, write: false, minify: true, format: 'esm', platform: 'browser', target: 'es2022' },
    });
    return outputFiles[0]!.text;
  };
  return {
    '/worker.html': WORKER_PAGE,
    '/worker.js': await bundle('test/browser/train-worker.ts'),
    '/plain.html': PLAIN_PAGE,
    '/library.js': await bundle('src/browser.ts'),
  };
}

describe.skipIf(withoutChromium !== '')(`in a worker of headless Chromium${withoutChromium}`, () => {
  let server: Served;
  beforeAll(async () => {
    const files = await pageFiles();
    server = await serve((url) => files[url]);
  });
  afterAll(() => server?.close());

  /** What a page leaves in `globalThis.answer`. @throws Error with what it complained of, if there is anything. */
  async function answerOf(name: string): Promise<unknown> {
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      const complaints = complaintsOf(page);
      await page.goto(`${server.address}/${name}`);
      await page.waitForFunction('globalThis.answer !== undefined', undefined, { timeout: 200_000 }).catch((cause) => {
        throw new Error(`${name} does not answer: ${complaints.join('; ')}`, { cause });
      });
      const answer = await page.evaluate('globalThis.answer');
      expect(complaints).toEqual([]);
      return answer;
    } finally {
      await browser.close();
    }
  }

  test('a plain script of a page computes what the reference does', async () => {
    const { device, logits } = (await answerOf('plain.html')) as { device: string; logits: number[] };
    expect(device).toBe('webgpu');
    const config = { vocabSize: 9, dim: 16, blocks: ['mlstm'], mlstm: { heads: 2 } };
    using model = LanguageModel.create(config, referenceDevice(), 1);
    const tokens = Int32Array.of(1, 2, 3);
    const reference = scope(model.device, {}, () =>
      model.logits(model.forward(Tensor.from(model.device, tokens, [1, 3])).hidden),
    );
    const expected = await reference.data();
    expect(logits.length).toBe(expected.length);
    const largest = Math.max(...expected.map(Math.abs));
    const error = Math.max(...logits.map((logit, k) => Math.abs(logit - expected[k]!)));
    expect(error / largest).toBeLessThan(1e-5);
  }, 240_000);

  test('the loss falls, and the model goes to files and back, in the page and to Node', async () => {
    const { report, error } = (await answerOf('worker.html')) as { report?: WorkerReport; error?: string };
    if (report === undefined) throw new Error(`the worker failed: ${error}`);
    const { losses, texts, fingerprints, config, weights } = report;
    expect(losses.length).toBe(20);
    expect(losses[0]).toBeGreaterThan(5); // ln 257 = 5.55
    expect(losses.at(-1)).toBeLessThan(1); // 0.85 on the reference device
    expect(texts[1]).toBe(texts[0]);
    expect(fingerprints[1]).toBe(fingerprints[0]);

    const folder = path.join(temporaryFolder(), 'model');
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'config.json'), config);
    writeFileSync(path.join(folder, 'model.safetensors'), Uint8Array.from(weights));
    const { model, facts } = loadModel(folder, referenceDevice());
    expect(await modelFingerprint(model)).toBe(fingerprints[0]);
    const tokenizer = new ByteTokenizer();
    expect(facts.tokenizer).toBe(tokenizer.fingerprint());
    const tokens: number[] = [];
    for await (const token of decode(model, tokenizer.encode('the '), { maxTokens: 12, temperature: 0 }))
      tokens.push(token);
    expect(tokenizer.decode(tokens)).toBe(texts[0]);
    model.dispose();
  }, 240_000);
});
