/**
 * @file Headless Chromium for tests of pages, with WebGPU in software, and a server for what they load. Where there is no
 * Chromium ($CHROMIUM, or that of the system) tests are skipped by name.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const executablePath = [process.env['CHROMIUM'], '/usr/bin/chromium'].find(
  (file) => file !== undefined && existsSync(file),
);

/** Why tests in Chromium are skipped, for their names; empty where they are not. */
export const withoutChromium =
  executablePath === undefined ? ' (skipped: no Chromium; apt-get install chromium, or set $CHROMIUM)' : '';

/**
 * WebGPU on the CPU, which is there without a GPU. Zeros of workgroup memory are written in a loop, as in Node (`adapter.ts`):
 * that driver takes ten times as long to compile them one by one.
 */
const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension',
];

/** No WebGPU at all. */
export const NO_WEBGPU = ['--disable-features=WebGPU', '--disable-gpu', '--disable-blink-features=WebGPU'];

/** Starts Chromium. @param flags  default: those that give it a GPU in software */
export const launchChromium = (flags: readonly string[] = SOFTWARE_GPU): Promise<Browser> =>
  chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox', ...flags] });

/** What a page complains of, as it comes: errors of scripts, and of the console but for a missing icon. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.location().url.endsWith('/favicon.ico')) complaints.push(message.text());
  });
  return complaints;
}

/** A new page, and what it complains of. */
export async function openPage(browser: Browser | BrowserContext): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  return { page, complaints: complaintsOf(page) };
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.txt': 'text/plain; charset=utf-8',
};

export interface Served {
  /** "http://127.0.0.1:1234" */
  readonly address: string;
  close(): void;
}

/** Serves what `contentOf` gives for a path such as "/page.js"; undefined is a 404. */
export async function serve(contentOf: (url: string) => string | Uint8Array | undefined): Promise<Served> {
  const server = createServer(({ url = '' }, response) => {
    const content = contentOf(url);
    response.statusCode = content === undefined ? 404 : 200;
    response.setHeader('content-type', TYPES[path.extname(url)] ?? 'text/html');
    response.end(content);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => void server.close(),
  };
}

/** Serves the files of a folder. */
export const serveFolder = (folder: string): Promise<Served> =>
  serve((url) => {
    const file = path.join(folder, url === '/' ? 'index.html' : path.posix.normalize(url.split('?')[0]!));
    return existsSync(file) ? readFileSync(file) : undefined;
  });
