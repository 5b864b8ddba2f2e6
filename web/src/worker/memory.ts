/**
 * @file Reads a text with the model and answers what its memories held at each token. It keeps the trace of the last text;
 * the model may go on training meanwhile.
 */
import { traceModel, type BlockTrace, type LanguageModel, type ModelTrace, type Tokenizer } from 'xlstm';
import type {
  BlockSummary,
  HalfLifeRange,
  MemoryCalls,
  MemoryMatrix,
  MlstmSeries,
  SlstmSeries,
} from '../protocol-memory.js';

/** What these handlers need of the worker's context. */
export interface MemoryContext {
  readonly model: LanguageModel | null;
  readonly tokenizer: Tokenizer | null;
}

type Handlers<Calls extends Record<keyof Calls, { fields: unknown; answer: unknown }>, Context> = {
  readonly [Name in keyof Calls]: (fields: Calls[Name]['fields'], context: Context) => Promise<Calls[Name]['answer']>;
};

/** A text of more tokens would be slow to look at: the reads of a head are T x T numbers. */
const MOST_TOKENS = 400;

let trace: ModelTrace | null = null;

export const memoryHandlers: Handlers<MemoryCalls, MemoryContext> = {
  readMemory: async ({ text }, { model, tokenizer }) => {
    if (model === null || tokenizer === null) throw new Error('There is no model yet: train one, or open one.');
    const all = tokenizer.encode(text, { addSpecial: true });
    if (all.length === 0) throw new Error('There is nothing to read: write a text first.');
    const read = all.slice(0, MOST_TOKENS);
    trace = await traceModel(model, read);
    return { tokens: textsOf(read, tokenizer), leftOut: all.length - read.length, blocks: trace.blocks.map(summaryOf) };
  },

  memoryHead: async ({ block, head }) => {
    const found = blockAt(block);
    return found.kind === 'mlstm' ? mlstmSeries(at(found.heads, head)) : slstmSeries(at(found.heads, head));
  },

  memoryMatrix: async ({ block, head, token }): Promise<MemoryMatrix> => {
    const found = blockAt(block);
    if (found.kind !== 'mlstm') throw new Error('An sLSTM has no matrix.');
    const of = at(found.heads, head);
    const n = of.n.subarray(token * of.DK, (token + 1) * of.DK);
    return { rows: of.DK, columns: of.DV, C: Float32Array.from(of.C(token)), n: Float32Array.from(n) };
  },
};

function blockAt(block: number): Exclude<BlockTrace, { kind: 'other' }> {
  if (trace === null) throw new Error('Read a text first.');
  const found = at(trace.blocks, block);
  if (found.kind === 'other') throw new Error(`The mixer ${found.mixer} has no gates that could be shown.`);
  return found;
}

function at<Item>(items: readonly Item[], index: number): Item {
  const item = items[index];
  if (item === undefined) throw new RangeError(`There is no number ${index + 1}, only ${items.length}.`);
  return item;
}

/** The text of each token; one that only begins a character has none. */
function textsOf(tokens: Int32Array, tokenizer: Tokenizer): string[] {
  const decoder = tokenizer.decoder();
  const texts = [...tokens].map((token) => decoder.push(token));
  const last = texts.length - 1;
  return texts.with(last, texts[last]! + decoder.end());
}

function summaryOf(block: BlockTrace): BlockSummary {
  const heads = [...block.heads].map(({ gates }) => rangeOf(gates.halfLives));
  return { kind: block.kind, mixer: block.mixer, heads };
}

function rangeOf(values: Float64Array): HalfLifeRange {
  const sorted = values.toSorted();
  const quantile = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  return { low: quantile(0.1), median: quantile(0.5), high: quantile(0.9) };
}

type MlstmHead = Extract<BlockTrace, { kind: 'mlstm' }>['heads'][number];
type SlstmHead = Extract<BlockTrace, { kind: 'slstm' }>['heads'][number];

/** [T,T], a row per reading token. */
function readsOf(head: MlstmHead | SlstmHead): Float32Array {
  const T = head.steps;
  const reads = new Float32Array(T * T);
  for (let t = 0; t < T; t++) reads.set(head.reads(t), t * T);
  return reads;
}

function mlstmSeries(head: MlstmHead): MlstmSeries {
  const { gates } = head;
  return {
    kind: 'mlstm',
    forget: Float32Array.from(gates.forget),
    halfLife: Float32Array.from(gates.halfLives),
    logInput: Float32Array.from(gates.logInput),
    logForgetSum: Float32Array.from(gates.logForgetSum),
    i: Float32Array.from(gates.i),
    f: Float32Array.from(gates.f),
    m: Float32Array.from(gates.m),
    memory: Float32Array.from(head.memoryNorms),
    normaliser: Float32Array.from(head.normaliserNorms),
    written: Float32Array.from(head.writeNorms),
    denominator: Float32Array.from(head.denominator),
    reads: readsOf(head),
  };
}

function slstmSeries(head: SlstmHead): SlstmSeries {
  const { gates } = head;
  return {
    kind: 'slstm',
    units: head.DH,
    forget: Float32Array.from(gates.forget),
    halfLife: Float32Array.from(gates.halfLives),
    logInput: Float32Array.from(gates.logInput),
    z: Float32Array.from(head.z),
    o: Float32Array.from(head.o),
    c: Float32Array.from(head.c),
    n: Float32Array.from(head.n),
    m: Float32Array.from(gates.m),
    h: Float32Array.from(head.h),
    reads: readsOf(head),
  };
}
