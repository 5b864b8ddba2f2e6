/**
 * @file `xlstm export --html`: the page, opened from disk in headless Chromium, generates what `xlstm generate` does. Skipped
 * by name where there is no Chromium or the package is not built.
 */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAX_OFFLINE_BYTES, offlinePage } from '../../src/generate/offline-page.js';
import { launchChromium, NO_WEBGPU, withoutChromium, openPage } from '../support/chromium.js';
import { commandIsBuilt, xlstm } from '../support/cli.js';
import { fastestDevice } from '../support/devices.js';
import { root } from '../support/documents.js';
import { temporaryFolder } from '../support/folders.js';
import { smallModelFolder } from '../support/small-model.js';

const isBuilt = commandIsBuilt && existsSync(path.join(root, 'dist/offline/worker.js'));
const reason = isBuilt ? withoutChromium : ' (skipped: needs npm run build)';
const device = ['--device', fastestDevice()];
const PROMPT = 'The <b>quick</b> fox & ';

/** Exports a model. @returns where the page is */
async function exported(model: string, ...options: string[]): Promise<string> {
  const file = path.join(temporaryFolder(), 'page.html');
  const { code, stderr } = await xlstm(['export', model, '--html', file, '--prompt', PROMPT, ...options, ...device]);
  expect(code, stderr).toBe(0);
  return file;
}

/** What the command generates after the prompt, greedily. */
async function generated(model: string, tokens: number, ...options: string[]): Promise<string> {
  const args = ['generate', model, PROMPT, '--temperature', '0', '--max-tokens', String(tokens), ...options, ...device];
  const { code, stdout, stderr } = await xlstm(args);
  expect(code, stderr).toBe(0);
  return stdout.slice(PROMPT.length, -1);
}

/** The model is there, or the text is complete. No scripts of the test run in the page: its policy forbids them. */
const ready = (page: Page) => page.locator('#go:enabled').waitFor({ timeout: 100_000 });

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Generates greedily by the page's own controls. @returns the text behind the prompt */
async function generateIn(page: Page, tokens: number): Promise<string> {
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Most tokens').fill(String(tokens));
  await page.getByRole('button', { name: 'Generate' }).click();
  await ready(page);
  const text = await page.locator('#text').textContent();
  expect(text?.startsWith(PROMPT)).toBe(true);
  return text!.slice(PROMPT.length);
}

test('refuses more weights than a page can hold, before it writes', () => {
  const weights = { length: MAX_OFFLINE_BYTES + 1 } as Uint8Array;
  const model = {} as Parameters<typeof offlinePage>[0]['model'];
  const files = { 'config.json': '', 'model.safetensors': weights };
  const page = offlinePage({ title: '', about: '', prompt: '', files, model });
  expect(() => page.next()).toThrow(/^export: the weights have 500\.0 MB, a page can hold 500\.0 MB; pack them .*int8/);
});

describe.skipIf(!isBuilt)('the command (needs npm run build)', () => {
  test('refuses a model that pages cannot run, and writes nothing', async () => {
    const model = await smallModelFolder(1, { blocks: ['attention'], attention: { heads: 2 } });
    const folder = temporaryFolder();
    const { code, stderr } = await xlstm(['export', model, '--html', path.join(folder, 'a.html'), ...device]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^xlstm: export: .*a page cannot run it: the webgpu device has no .*attention.*\n$/);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe.skipIf(reason !== '')(`a page from disk in headless Chromium${reason}`, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(() => browser?.close());

  test.each([
    ['stored', {}],
    ['bf16', { dim: 64, blocks: ['mlstm', 'slstm', 'mlstmLarge'], mlstmLarge: { heads: 2 } }],
    ['int8', { dim: 64, blocks: ['mlstm', 'mlstmLarge'], mlstmLarge: { heads: 2 } }],
    ['int4', { dim: 128, blocks: ['mlstmLarge'], mlstmLarge: { heads: 2 } }],
  ])(
    'with %s weights generates what the command does',
    async (weights, config) => {
      const model = await smallModelFolder(1, config);
      const file = await exported(model, '--weights', weights);
      const { page, complaints } = await openPage(browser);
      const requests: string[] = [];
      page.on('request', (request) => requests.push(request.url()));
      await page.goto(pathToFileURL(file).href);
      await ready(page);
      expect(await page.locator('#status').textContent()).toMatch(/^Ready, on .*swiftshader/i);
      expect(await generateIn(page, 24)).toBe(await generated(model, 24, '--weights', weights));
      expect(await page.locator('#status').textContent()).toMatch(/^24 tokens, [\d.]+ per second\.$/);
      expect(complaints).toEqual([]);
      expect(requests.filter((url) => !/^(file|blob|data):/.test(url))).toEqual([]);
      await page.close();
    },
    200_000,
  );

  test('streams, stops at once, and goes on afterwards', async () => {
    const file = await exported(await smallModelFolder());
    const { page, complaints } = await openPage(browser);
    await page.goto(pathToFileURL(file).href);
    await ready(page);
    await page.getByLabel('Most tokens').fill('100000');
    await page.getByLabel('Prompt', { exact: true }).press('Control+Enter');
    await until(async () => (await page.locator('#text').textContent())!.length > PROMPT.length + 10);
    const stopped = performance.now();
    await page.getByRole('button', { name: 'Stop' }).click();
    await ready(page);
    expect(performance.now() - stopped).toBeLessThan(2000); // two round trips to the browser among them
    expect(await page.locator('#status').textContent()).toMatch(/^Stopped\. \d+ tokens/);
    expect((await generateIn(page, 5)).length).toBeGreaterThan(0);
    expect(complaints).toEqual([]);
    await page.close();
  }, 200_000);

  test('says that it is cut off where weights are missing', async () => {
    const file = await exported(await smallModelFolder());
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace(/<script type="text\/plain" data-weights>[^<]*<\/script>/, ''));
    const { page, complaints } = await openPage(browser);
    await page.goto(pathToFileURL(file).href);
    await until(async () => (await page.getByRole('alert').textContent()) !== '');
    expect(await page.getByRole('alert').textContent()).toBe(
      'This file is cut off: weights are missing. Copy it again.',
    );
    expect(complaints).toEqual([]);
    await page.close();
  });

  test('fits a phone, in light and dark, and every control has a name', async () => {
    const file = await exported(
      await smallModelFolder(),
      '--title',
      'A model with quite a long-winded-and-unbreakable-name',
    );
    const { page } = await openPage(browser);
    await page.setViewportSize({ width: 375, height: 700 });
    await page.goto(pathToFileURL(file).href);
    await ready(page);
    expect(
      await page.locator('html').evaluate((html) => (html as unknown as { scrollWidth: number }).scrollWidth),
    ).toBeLessThanOrEqual(375);
    const unnamed = 'input, textarea, button';
    const names = await page
      .locator(unnamed)
      .evaluateAll((found) =>
        found.map(
          (one) =>
            (one as unknown as { labels: { length: number }; textContent: string }).labels.length || one.textContent,
        ),
      );
    expect(names.length).toBe(8);
    expect(names.filter((name) => !name)).toEqual([]);
    const background = () =>
      page.locator('body').evaluate((body) => {
        const { getComputedStyle: styleOf } = globalThis as unknown as {
          getComputedStyle(of: unknown): { backgroundColor: string };
        };
        return styleOf(body).backgroundColor;
      });
    await page.emulateMedia({ colorScheme: 'light' });
    expect(await background()).toBe('rgb(246, 247, 249)');
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await background()).toBe('rgb(18, 21, 27)');
    await page.close();
  });
});

describe.skipIf(reason !== '')(`a page from disk in Chromium without WebGPU${reason}`, () => {
  test('runs a small model slowly, says why, and gives the same text', async () => {
    const browser = await launchChromium(NO_WEBGPU);
    try {
      const model = await smallModelFolder();
      const file = await exported(model);
      expect(statSync(file).size).toBeLessThan(1e6);
      const { page, complaints } = await openPage(browser);
      await page.goto(pathToFileURL(file).href);
      await ready(page);
      expect(await page.getByRole('alert').textContent()).toMatch(
        /^Slow, because it runs without a GPU\. webgpu: .*Chrome/,
      );
      expect(await generateIn(page, 16)).toBe(await generated(model, 16));
      expect(complaints).toEqual([]);
    } finally {
      await browser.close();
    }
  }, 200_000);
});
