/** @file The playground for tests and for the pictures of the documents: built, and its controls by their labels. */
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { root } from './documents.js';

/** Builds the site into a folder. */
export async function buildPlayground(outDir: string): Promise<void> {
  await build({ configFile: path.join(root, 'web/vite.config.ts'), build: { outDir }, logLevel: 'warn' });
}

/** Fills fields, or chooses of lists, by their labels. */
export async function chooseNumbers(page: Page, values: Readonly<Record<string, string>>): Promise<void> {
  for (const [label, value] of Object.entries(values)) {
    const field = page.getByLabel(label, { exact: true });
    const isList = await field.evaluate((element) => element.tagName === 'SELECT');
    await (isList ? field.selectOption(value) : field.fill(value));
  }
}

/** Waits until training is in a phase, as its heading says. */
export const waitForPhase = (page: Page, phase: 'Stopped' | 'Finished'): Promise<void> =>
  page.getByRole('heading', { name: phase, exact: true }).waitFor();

/** The text of the first element. */
export async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.locator(selector).first().textContent()) ?? '';
}

/** Waits until so many of all steps of a training are done; the one before may have had another number. */
export async function waitForStep(page: Page, step: number, steps: number): Promise<void> {
  const text = `document.querySelector('.stats dd').textContent`;
  await page.waitForFunction(`${text}.endsWith('/ ${steps}') && Number.parseInt(${text}) >= ${step}`);
}

/**
 * Lets the page write 40 tokens without chance.
 * @returns them. They can take milliseconds, in which a test may not look at the page even once: the page watches itself.
 */
export async function writeGreedily(page: Page, prompt: string): Promise<string> {
  await page.getByRole('link', { name: 'Generate' }).first().click();
  await page.getByLabel('Prompt').fill(prompt);
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Max tokens').fill('40');
  await page.evaluate(`{
    const output = document.querySelector('.output');
    globalThis.written = new Promise((resolve) => {
      const ended = () => output.getAttribute('aria-busy') === 'false' && resolve();
      new MutationObserver(ended).observe(output, { attributeFilter: ['aria-busy'] });
    });
    undefined;
  }`);
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.evaluate('written');
  return textOf(page, '[data-testid=generated]');
}

/** The events of Chromium that say what its threads ran, and which messages they got. */
const CATEGORIES = ['disabled-by-default-devtools.timeline', 'mojom'];

/** Begins to record what the main thread of a page does. One page of a browser at a time. */
export const recordTasks = (browser: Browser, page: Page): Promise<void> =>
  browser.startTracing(page, { categories: CATEGORIES });

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** When it began. Times are in microseconds. */
  readonly ts: number;
  readonly dur?: number;
  /** Time that the thread computed. */
  readonly tdur?: number;
  readonly args: { readonly name?: string; readonly chrome_mojo_event_info?: { readonly mojo_interface_tag?: string } };
}

/**
 * Ends what `recordTasks` began.
 * @returns the milliseconds that each task of the main thread computed (on a busy machine a task may take longer, as others
 *   compute in the middle of it), but for those in which the test itself asks something of the page
 */
export async function recordedTasks(browser: Browser): Promise<number[]> {
  const trace = await browser.stopTracing();
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: TraceEvent[] };
  const isMain = ({ name, args }: TraceEvent): boolean => name === 'thread_name' && args.name === 'CrRendererMain';
  const threads = new Set(traceEvents.filter(isMain).map(({ pid, tid }) => `${pid} ${tid}`));
  const events = traceEvents.filter(({ pid, tid }) => threads.has(`${pid} ${tid}`));
  const ours = events
    .filter(({ args }) => args.chrome_mojo_event_info?.mojo_interface_tag?.includes('DevTools') === true)
    .map(({ ts }) => ts);
  return events
    .filter(({ name }) => name === 'RunTask')
    .filter(({ ts, dur = 0 }) => !ours.some((at) => at >= ts && at <= ts + dur))
    .map(({ tdur = 0 }) => tdur / 1000);
}
