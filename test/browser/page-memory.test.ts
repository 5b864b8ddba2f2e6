/**
 * @file The views Memory and Search of the playground in headless Chromium: a text is read and looked at by keyboard and pointer,
 * and an LSTM and an sLSTM are trained side by side, stopped and gone on with. Its GPU is a program on the CPU.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { complaintsOf, launchChromium, serveFolder, withoutChromium, type Served } from '../support/chromium.js';
import {
  buildPlayground,
  chooseNumbers,
  recordedTasks,
  recordTasks,
  textOf,
  waitForPhase,
} from '../support/playground.js';

const TEXT = 'the quick brown fox jumps over the lazy dog. '.repeat(100);
const READ = 'the quick brown fox\njumps over the lazy dog';
const NO_TASK_LONGER_MS = 50;
/** A GPU in software compiles its kernels for a minute on a busy machine. */
const LONG = 400_000;
/** The squared error of always saying 0.5. */
const GUESS = 1 / 12;

/** Of an mLSTM head. */
const CHARTS = 8;

/** How many different colours a canvas has. */
const colours = (selector: string): string => `(() => {
  const canvas = document.querySelector(${JSON.stringify(selector)});
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
})()`;

describe.skipIf(withoutChromium !== '')(`the views Memory and Search${withoutChromium}`, { timeout: LONG }, () => {
  let folder: string;
  let site: Served;
  let browser: Browser;
  let page: Page;
  let complaints: string[];
  /** What the longest task of the main thread computed in ms, by what was done meanwhile. */
  const longest: Record<string, number> = {};

  const recording = async (what: string, work: () => Promise<void>): Promise<void> => {
    await recordTasks(browser, page);
    await work();
    longest[what] = Math.max(...(await recordedTasks(browser)));
  };

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'xlstm-page-'));
    await buildPlayground(path.join(folder, 'site'));
    site = await serveFolder(path.join(folder, 'site'));
    writeFileSync(path.join(folder, 'fox.txt'), TEXT);
    browser = await launchChromium();
    page = await browser.newPage();
    page.setDefaultTimeout(LONG);
    complaints = complaintsOf(page);
    await page.goto(site.address);
    await page.locator('.device.slow').waitFor();
  }, LONG);

  afterAll(async () => {
    await browser?.close();
    site?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const open = (name: string): Promise<void> => page.getByRole('link', { name, exact: true }).click();

  test('without a model Memory says what to do', async () => {
    await open('Memory');
    await page.getByText('There is no model yet').waitFor();
    expect(await page.getByRole('button', { name: 'Read' }).isDisabled()).toBe(true);
  });

  test('with a model it reads a text: half-lives of all heads, tokens, curves and the matrix', async () => {
    await open('Train');
    await page.locator('input[type=file]').first().setInputFiles(path.join(folder, 'fox.txt'));
    await chooseNumbers(page, { Width: '32', Context: '32', Batch: '4', 'Learning rate': '0.01', Steps: '40' });
    await page.getByRole('button', { name: 'Train', exact: true }).click();
    await waitForPhase(page, 'Finished');
    await recording('the view opens and reads a text', async () => {
      await open('Memory');
      await page.getByRole('listbox').waitFor();
      await expect.poll(() => page.locator('.uplot').count()).toBe(CHARTS);
    });
    await page.getByLabel('Text to read').fill(READ);
    await page.getByRole('button', { name: 'Read again' }).click();
    await expect.poll(() => page.getByRole('option').count()).toBe(READ.length); // tokens are bytes
    // The default model is m s: four heads each.
    expect(await page.getByRole('radio').count()).toBe(8);
    expect(await textOf(page, '.memory-head b')).toMatch(/^[\d.,]+ tokens?$/);
    await page.getByRole('img', { name: /^Matrix C/ }).waitFor();
    await expect.poll(() => page.evaluate(colours('.memory-maps canvas'))).toBeGreaterThan(20);
    await expect.poll(() => page.locator('.uplot').count()).toBe(CHARTS);
  });

  test('arrow keys move over the tokens; what was written and read follows', async () => {
    const list = page.getByRole('listbox');
    await list.focus();
    await page.keyboard.press('Home');
    await expect.poll(() => textOf(page, '.memory-facts h2')).toBe('Token 1: t');
    expect(await textOf(page, '.memory-lists')).toContain('Nothing was written before it.');
    await page.keyboard.press('End');
    await expect.poll(() => textOf(page, '.memory-facts h2')).toBe(`Token ${READ.length}: g`);
    expect(await textOf(page, '.memory-lists')).toContain('No later token read it.');
    await page.keyboard.press('ArrowLeft');
    await expect.poll(() => textOf(page, '.memory-facts h2')).toBe(`Token ${READ.length - 1}: o`);
    expect(await list.getAttribute('aria-activedescendant')).toBe(`memory-token-${READ.length - 2}`);
    await page.getByRole('option').nth(4).hover();
    await expect.poll(() => textOf(page, '.memory-facts h2')).toBe('Token 5: q');
    await page.locator('.memory-picker h2').hover();
    await expect.poll(() => textOf(page, '.memory-facts h2')).toBe(`Token ${READ.length - 1}: o`);
    // Of the largest read in the list, to its token.
    await page.locator('.memory-lists ol').first().locator('button').first().click();
    await expect.poll(() => textOf(page, '.memory-facts h2')).not.toBe(`Token ${READ.length - 1}: o`);
  });

  test('the film of the matrix goes on to the end', async () => {
    await page.getByLabel('Token after which the memory is shown').fill(String(READ.length - 4));
    await page.getByRole('button', { name: 'Play' }).click();
    await expect.poll(() => textOf(page, '.memory-player output')).toBe(`${READ.length} of ${READ.length}`);
    await page.getByRole('button', { name: 'Play' }).waitFor();
  });

  test('an sLSTM head shows its units', async () => {
    await page.getByRole('radio', { name: /Block 2, sLSTM, head 1/ }).check({ force: true });
    await page.getByRole('img', { name: /^Stabiliser m/ }).waitFor();
    for (const title of ['Forget gate f', 'Cell c', 'Normaliser n', 'Stabiliser m', 'Output h']) {
      const canvas = `canvas[aria-label^="${title}."]`;
      await expect.poll(() => page.evaluate(colours(canvas)), { message: title }).toBeGreaterThan(5);
    }
    await page.getByRole('spinbutton').fill('3');
    await page.getByText('Unit 3: gates').waitFor();
  });

  test('a text that is too long is read as far as can be looked at, and keys and the pointer move in it', async () => {
    const whole = page.locator('.memory-text');
    await recording('a long text is read', async () => {
      await page.getByLabel('Text to read').fill(TEXT.slice(0, 1000));
      await page.getByRole('button', { name: 'Read again' }).click();
      await page.getByText('The first 400 tokens were read; 600 more were left out.').waitFor();
      await expect.poll(() => page.getByRole('option').count()).toBe(400);
      await page.getByRole('img', { name: /^Stabiliser m/ }).waitFor();
      await page.waitForTimeout(500);
    });
    await recording('keys and the pointer move in it', async () => {
      await whole.focus();
      for (const key of ['Home', 'ArrowRight', 'ArrowDown', 'End']) await page.keyboard.press(key);
      await page.getByRole('option').nth(350).hover();
      await expect.poll(() => textOf(page, '.memory-facts h2')).toMatch(/^Token 351: /);
    });
    await recording('another head is looked at', async () => {
      await page.getByRole('radio', { name: /Block 1, mLSTM, head 2/ }).check({ force: true });
      await expect.poll(() => page.locator('.uplot').count()).toBe(CHARTS);
      await page.getByRole('button', { name: 'Play' }).click();
      await page.waitForTimeout(500);
    });
  });

  test('Search trains both models on the same stream, stops and goes on', async () => {
    await open('Search');
    await chooseNumbers(page, { 'Longest sequence': '8', Width: '16', 'Learning rate': '0.01' });
    await page.getByRole('button', { name: 'Train both' }).click();
    const step = async (): Promise<number> =>
      Number((await textOf(page, '[data-testid=search-step]')).replace(',', ''));
    await expect.poll(step, { timeout: LONG }).toBeGreaterThan(60);
    await recording('two models are trained', () => page.waitForTimeout(3000));
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('heading', { name: /^Stopped/ }).waitFor();
    const at = await step();
    await page.getByRole('button', { name: 'Resume' }).click();
    await expect.poll(step, { timeout: LONG }).toBeGreaterThan(at + 100);
    const cells = async () => (await page.locator('.search table').first().locator('td').allTextContents()).map(Number);
    const [lstm, slstm] = await cells();
    expect(lstm).toBeLessThan(GUESS);
    expect(slstm).toBeLessThan(GUESS);
  });

  test('a sequence is shown step by step: where a closer match arrives, what is right, what each holds', async () => {
    const rows = page.locator('.search-table tbody tr');
    const steps = await rows.count();
    expect(steps).toBeGreaterThanOrEqual(3);
    const cells = await rows.evaluateAll((all) =>
      all.map((row) => [...row.children].map(({ textContent }) => textContent ?? '')),
    );
    let held = '';
    for (const [, angle, value, right, ...answers] of cells) {
      if (angle?.match(/closer|first/)) held = value!;
      expect(right).toBe(held); // the value of the nearest so far
      for (const answer of answers) expect(Number(answer)).toBeGreaterThan(-0.5);
    }
    await page.getByRole('slider', { name: 'Step' }).fill('2');
    expect(await textOf(page, '.search-says')).toMatch(/^Step 2: a vector \d+° from the key, with the value 0\.\d\d\./);
    expect(await rows.nth(1).getAttribute('aria-current')).toBe('step');
  });

  test('training goes on while another view is shown, until it is stopped', async () => {
    const before = await textOf(page, '[data-testid=search-step]');
    await open('Memory');
    await page.getByRole('listbox').waitFor();
    await open('Search');
    await expect.poll(() => textOf(page, '[data-testid=search-step]')).not.toBe(before);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('heading', { name: /^Stopped/ }).waitFor();
  });

  test('no task of the main thread computed for long, and nothing was on the console', () => {
    for (const [what, ms] of Object.entries(longest)) expect(ms, what).toBeLessThan(NO_TASK_LONGER_MS);
    expect(Object.keys(longest).length).toBe(5);
    expect(complaints).toEqual([]);
  });
});
