/** @file Serves the page of the bench of WebGPU and opens it in a browser. It runs no case. */
import fs from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import type { Bench } from './page/page.js';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const HTML =
  '<!doctype html><title>bench</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>';

/** One module for a page. @param packages  the folder that has the packages of peers */
async function bundled(file: string, packages: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [path.join(HERE, 'page', file)],
    ...{ bundle: true, write: false, minify: true, logLevel: 'silent' },
    ...{ format: 'esm', platform: 'browser', target: 'es2022', nodePaths: [packages] },
  });
  return outputFiles[0]!.text;
}

/** @param modules  the contenders by name, each a file under page/ */
function serve(modules: Readonly<Record<string, string>>, packages: string): Promise<Server> {
  const answer = async (url: string): Promise<[type: string, body: string | Buffer]> => {
    if (url === '/') return ['text/html', HTML];
    if (url === '/page.js') return ['text/javascript', await bundled('page.ts', packages)];
    const contender = /^\/contenders\/(.+)\.js$/.exec(url)?.[1];
    if (contender !== undefined) return ['text/javascript', await bundled(modules[contender]!, packages)];
    // onnxruntime-web loads its WebAssembly from its own folder.
    const file = path.join(packages, 'onnxruntime-web/dist', path.basename(url));
    return [file.endsWith('.wasm') ? 'application/wasm' : 'text/javascript', await fs.promises.readFile(file)];
  };
  const server = createServer((request, response) => {
    answer(request.url ?? '/').then(
      ([type, body]) => response.setHeader('content-type', type).end(body),
      (error: unknown) => response.writeHead(404).end(String(error)),
    );
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

export interface OpenPage {
  /** "Chromium 142.0.7444.59". */
  readonly browser: string;
  readonly bench: Bench;
  close(): Promise<void>;
}

/**
 * @param adapter  "default", or what Chromium's --use-webgpu-adapter takes
 * @throws Error when the browser does not start or the page does not load.
 */
export async function openPage(
  executablePath: string,
  adapter: string,
  modules: Readonly<Record<string, string>>,
  packages: string,
): Promise<OpenPage> {
  const server = await serve(modules, packages);
  const args = ['--no-sandbox', '--enable-unsafe-webgpu'];
  if (adapter === 'default') args.push('--enable-features=Vulkan');
  else args.push(`--use-webgpu-adapter=${adapter}`);
  const browser = await chromium.launch({ executablePath, args });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction('globalThis.bench !== undefined');
  const call = (method: string, ...args: unknown[]): Promise<unknown> =>
    page.evaluate(`bench.${method}(...${JSON.stringify(args)})`);
  return {
    browser: `Chromium ${browser.version()}`,
    bench: {
      open: (name) => call('open', name) as ReturnType<Bench['open']>,
      prove: (name, of) => call('prove', name, of) as ReturnType<Bench['prove']>,
      time: (name, calls) => call('time', name, calls) as ReturnType<Bench['time']>,
      close: (name) => call('close', name) as Promise<void>,
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}
