/** @file The command line of `npm run bench:peers`. */
import { parseArgs } from 'node:util';

export interface Options {
  readonly cache: string;
  /** A Python that has the packages already; null to make a venv in the cache folder. */
  readonly python: string | null;
  /** Ids of rows, or their beginnings; null for all. */
  readonly only: readonly string[] | null;
  readonly threads: readonly number[];
  readonly rounds: number;
  /** Of timed calls in each process. */
  readonly seconds: number;
  /** Seconds after which a contender is ended. */
  readonly timeout: number;
  readonly text: string | null;
  readonly quick: boolean;
  readonly write: boolean;
  /** Where to. */
  readonly to: string;
  /** A sentence that it begins with. */
  readonly note: string;
  readonly list: boolean;
  /** Results of earlier runs to make the report of, instead of running; null to run. */
  readonly from: readonly string[] | null;
}

const HELP = `Usage: npm run bench:peers -- [options]

Sets the speed of the CPU device beside what one would use instead: same machine, same work, one run. Every contender
loads the same weights and must give the same results before it is timed; contenders then take turns, each time in a new
process, bound to as many processors as it may use. Run it on a machine that does nothing else.

  --only ROW,...     these rows, or those whose ids begin so (default: all)
  --threads N,...    numbers of threads, one after the other (default: 1,2)
  --rounds N         processes of each contender (default: 5)
  --seconds S        of timed calls in each process (default: 3)
  --timeout S        end a contender that takes longer (default: 1800)
  --cache FOLDER     for the peers, weights and compiled kernels (default: build/peers)
  --python PATH      a Python that has the packages, instead of installing them
  --text FILE        the text of the tokenizer rows (default: speeches, repeated)
  --quick            one short process each, smaller inputs: shows that all agree, and no speed
  --write            write a table of Markdown
  --to FILE          where to (default: bench/PEERS.md)
  --note TEXT        a sentence to put above it
  --from FILE,...    report what these results.json of one machine say, and run nothing
  --list             name the rows, and run nothing
  --help             this text`;

/** @returns null after --help. @throws Error for a wrong option. */
export function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      threads: { type: 'string', default: '1,2' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      timeout: { type: 'string', default: '1800' },
      cache: { type: 'string', default: 'build/peers' },
      python: { type: 'string' },
      text: { type: 'string' },
      quick: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      to: { type: 'string', default: 'bench/PEERS.md' },
      note: { type: 'string', default: '' },
      list: { type: 'boolean', default: false },
      from: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return null;
  }
  const { quick } = values;
  return {
    cache: values.cache,
    python: values.python ?? null,
    only: values.only?.split(',') ?? null,
    threads: values.threads.split(',').map((text) => positive('--threads', text, true)),
    rounds: positive('--rounds', values.rounds ?? (quick ? '1' : '5'), true),
    seconds: positive('--seconds', values.seconds ?? (quick ? '0.5' : '3'), false),
    timeout: positive('--timeout', values.timeout, false),
    text: values.text ?? null,
    quick,
    write: values.write,
    to: values.to,
    note: values.note,
    list: values.list,
    from: values.from?.split(',') ?? null,
  };
}

function positive(name: string, text: string, whole: boolean): number {
  const value = Number(text);
  if (value > 0 && (!whole || Number.isInteger(value))) return value;
  throw new Error(`bench:peers: ${name} must be a ${whole ? 'whole ' : ''}number above 0, got ${JSON.stringify(text)}`);
}
