/** @file The command line of `npm run bench:webgpu`. */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';

export interface Options {
  readonly cache: string;
  readonly browser: string;
  /** "default", or what Chromium's --use-webgpu-adapter takes. */
  readonly adapter: string;
  /** Beginnings of the ids of cases; null for all. */
  readonly only: readonly string[] | null;
  readonly rounds: number;
  /** Of the calls of one sample, about. */
  readonly seconds: number;
  /** Seconds after which what a contender does is given up. */
  readonly timeout: number;
  readonly write: boolean;
  readonly list: boolean;
}

const HELP = `Usage: npm run bench:webgpu -- [options]

Sets the speed of the webgpu device beside other libraries on WebGPU, in one page of one browser: same adapter, same work,
same inputs. A result must first be right: a product against sums in float64, the losses of training against those of the
reference device. Contenders then take turns. Run it on a machine that does nothing else. bench/webgpu/node.ts is this
project alone, in Node, against what the adapter can do at most.

  --adapter NAME   swiftshader (in software), or default: what the browser finds (default: swiftshader)
  --browser PATH   a Chromium or Chrome (default: $CHROMIUM, or that of the system)
  --only CASE,...  cases whose ids begin so (default: all)
  --rounds N       samples of each contender (default: 5)
  --seconds S      of the calls of a sample, about (default: 0.3)
  --timeout S      give a contender up that takes longer (default: 120)
  --cache FOLDER   for the peers (default: build/peers)
  --write          write bench/WEBGPU.md
  --list           name the cases, and run nothing
  --help           this text`;

/** @returns null after --help. @throws Error for a wrong option, or where there is no browser. */
export function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      adapter: { type: 'string', default: 'swiftshader' },
      browser: { type: 'string' },
      only: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '0.3' },
      timeout: { type: 'string', default: '120' },
      cache: { type: 'string', default: 'build/peers' },
      write: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return null;
  }
  const known = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/google-chrome'];
  const browser = values.browser ?? known.find((path) => path !== undefined && existsSync(path));
  if (browser === undefined) throw new Error('bench:webgpu: no Chromium; apt-get install chromium, or give --browser');
  return {
    cache: values.cache,
    browser,
    adapter: values.adapter,
    only: values.only?.split(',') ?? null,
    rounds: positive('--rounds', values.rounds),
    seconds: positive('--seconds', values.seconds),
    timeout: positive('--timeout', values.timeout),
    write: values.write,
    list: values.list,
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (value > 0 && (name !== '--rounds' || Number.isInteger(value))) return value;
  throw new Error(`bench:webgpu: ${name} must be a number above 0, got ${JSON.stringify(text)}`);
}
