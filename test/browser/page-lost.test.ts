/**
 * @file The playground when its GPU is lost: the GPU process of a headless Chromium is crashed in the middle of training, and
 * after it. Training goes on, and what was there is there again.
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { complaintsOf, launchChromium, serveFolder, withoutChromium, type Served } from '../support/chromium.js';
import { smallModelFolder } from '../support/small-model.js';
import {
  buildPlayground,
  chooseNumbers,
  textOf,
  waitForPhase,
  waitForStep,
  writeGreedily,
} from '../support/playground.js';

const TEXT = 'the quick brown fox jumps over the lazy dog. '.repeat(200);
const STEPS = 160;
const LOSS_AT_THE_BEGIN = Math.log(257);
const LOSS_AT_THE_END = 1.5;
/** Losses of 0.7 after 70 steps and 0.2 after 160: it still falls when the GPU is lost. */
const SLOWLY = 0.002;
/** A GPU in software compiles its kernels for a minute on a busy machine, and here it does so three times. */
const LONG = 500_000;

describe.skipIf(withoutChromium !== '')(`the playground without its GPU${withoutChromium}`, { timeout: LONG }, () => {
  let folder: string;
  let site: Served;
  let browser: Browser;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'xlstm-page-'));
    await buildPlayground(path.join(folder, 'site'));
    site = await serveFolder(path.join(folder, 'site'));
    writeFileSync(path.join(folder, 'fox.txt'), TEXT);
  }, LONG);

  // Chromium gives no GPU to a page for a while when it was lost twice, so each loss has a browser of its own.
  beforeEach(async () => {
    browser = await launchChromium();
    page = await browser.newPage();
    page.setDefaultTimeout(LONG);
    complaints = complaintsOf(page);
    await page.goto(site.address);
    await page.locator('.device.slow').waitFor();
  }, LONG);

  afterEach(async () => {
    await browser.close();
    expect(complaints).toEqual([]);
  });

  afterAll(() => {
    site?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Ends the process of the GPU, as a driver that is reset does. */
  const crashGpu = async (): Promise<void> => {
    const session = await browser.newBrowserCDPSession();
    await session.send('Browser.crashGpuProcess');
    await session.detach();
  };

  const loss = async (): Promise<number> => Number((await page.locator('.stats dd').allTextContents())[1]);

  /** Blocks of one kind, for a new device compiles everything again. */
  const train = async (steps: number, learningRate = 0.01): Promise<void> => {
    await page.locator('input[type=file]').first().setInputFiles(path.join(folder, 'fox.txt'));
    const numbers = {
      Width: '32',
      Context: '32',
      Batch: '4',
      'Learning rate': String(learningRate),
      Steps: String(steps),
    };
    await chooseNumbers(page, numbers);
    await page.getByRole('button', { name: 'Block 1, mLSTM: remove' }).click();
    await page.getByRole('button', { name: 'Train', exact: true }).click();
  };

  const generated = (): Promise<string> => writeGreedily(page, 'the quick ');

  test('in the middle of training: it says so and goes on from the last copy', async () => {
    await train(STEPS, SLOWLY);
    await waitForStep(page, 70, STEPS);
    const before = await loss();
    await crashGpu();
    const said = page
      .locator('.alert')
      .getByText(/^The GPU was lost, .* Training goes on with step \d+, from the last copy/);
    await said.waitFor();
    const from = Number(/step (\d+)/.exec((await said.textContent())!)![1]);
    expect(from).toBeGreaterThan(50); // there is a copy of step 50
    await waitForStep(page, from + 1, STEPS);
    expect(await loss()).toBeLessThan(LOSS_AT_THE_BEGIN / 2); // no new model
    await waitForPhase(page, 'Finished');
    expect(await textOf(page, '.stats dd')).toBe(`${STEPS} / ${STEPS}`);
    expect(await loss()).toBeLessThan(Math.min(before, LOSS_AT_THE_END));
  });

  test('after training: the model is there as it was', async () => {
    await train(20);
    await waitForPhase(page, 'Finished');
    const before = await generated();
    await crashGpu();
    await page.locator('.alert').getByText('Training stands at step 20, from the last copy').waitFor();
    expect(await generated()).toBe(before);
  });

  test('twice: it says what to do, and the model can be saved without a GPU', async () => {
    await train(20);
    await waitForPhase(page, 'Finished');
    await crashGpu();
    await page.locator('.alert').getByText('Training stands at step 20, from the last copy').waitFor();
    await crashGpu();
    const said = page.getByRole('alert').filter({ hasText: 'the browser gives this page no other one' });
    await said.getByText('The model is still here, as it was after step 20.').waitFor();
    expect(await textOf(page, '.device')).toBe('No GPU');
    await said.getByRole('link', { name: 'save the model' }).click();
    const downloading = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download as .zip' }).click();
    const download = await downloading;
    expect(download.suggestedFilename()).toBe('xlstm-fox-20-steps.zip');
    await download.saveAs(path.join(folder, 'model.zip'));
    expect(statSync(path.join(folder, 'model.zip')).size).toBeGreaterThan(10_000);
    await page.reload();
    await page.locator('.device.slow').waitFor();
    await page.getByRole('heading', { name: 'fox.txt' }).waitFor();
  });

  test('with a model that was opened: it is read again from what is kept', async () => {
    const model = await smallModelFolder(1, {}, true, folder);
    await page.getByRole('link', { name: 'Models' }).click();
    await page.locator('input[type=file]').first().setInputFiles(model);
    await page.getByText(/Kept in this browser/).waitFor();
    const before = await generated();
    await crashGpu();
    await page.locator('.alert').getByText('It is open again, with the model as it was kept.').waitFor();
    expect(await generated()).toBe(before);
  });
});
