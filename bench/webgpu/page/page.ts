/** @file The page of the bench of WebGPU: opens contenders, runs and times cases as it is told from outside. */
import { matmulError, matmulInputs, type Case } from '../cases.js';
import { prepare, type Contender, type Prepared } from '../contender.js';

/** What came out of a case: of a product its error, RMS(error) / RMS; of training the first losses. */
export type Outcome = { readonly error: number } | { readonly losses: readonly number[] };

/** What `run.ts` calls. */
export interface Bench {
  /** Loads a contender. @returns what it says of its adapter, or null */
  open(name: string): Promise<string | null>;
  /** Runs a case once; it can then be timed. @returns null where the contender cannot do it */
  prove(name: string, of: Case): Promise<Outcome | null>;
  /** Seconds of a call. */
  time(name: string, calls: number): Promise<number>;
  /** Gives the memory of the last case back. */
  close(name: string): Promise<void>;
}

const contenders = new Map<string, Contender>();
const ready = new Map<string, Prepared>();

const bench: Bench = {
  async open(name) {
    const module = (await import(`/contenders/${name}.js`)) as { open(): Promise<Contender> };
    const contender = await module.open();
    contenders.set(name, contender);
    return contender.adapter ?? null;
  },
  async prove(name, of) {
    const prepared = await prepare(contenders.get(name)!, of);
    if (prepared === null) return null;
    ready.set(name, prepared);
    const outputs = await prepared.outputs();
    if (of.kind === 'matmul') return { error: matmulError(matmulInputs(of.sizes), outputs) };
    return { losses: Array.from(outputs) };
  },
  async time(name, calls) {
    const start = performance.now();
    await ready.get(name)!.calls(calls);
    return (performance.now() - start) / 1000 / calls;
  },
  async close(name) {
    ready.get(name)?.dispose();
    ready.delete(name);
  },
};

Object.assign(globalThis, { bench });
