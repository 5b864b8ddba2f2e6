/**
 * @file Many sequences through one model: requests join and leave between steps, and long prompts are read in chunks
 * between them, so that nobody waits for somebody else's prompt. It knows tokens, not texts.
 */
import type { FloatArray } from '../device/device.js';
import { giveWay } from '../event-loop.js';
import type { LanguageModel } from '../model/language-model.js';
import { StateBatch } from '../model/state-batch.js';
import type { SavedState } from '../model/state-file.js';
import type { Tensor } from '../tensor/tensor.js';
import { givenLogprobs } from './logprobs.js';
import { hostLogits, readPart } from './read-part.js';
import { tokensAtOnce } from './tokens-at-once.js';
import {
  checkRequest,
  checkWhole,
  Running,
  Sequence,
  type EngineEvent,
  type EngineRequest,
  type Reading,
} from './request.js';
import { Stepper } from './stepper.js';

export type { EngineEvent, EngineRequest } from './request.js';

export interface EngineOptions {
  /** Sequences that are decoded together at the most. Default 8. */
  readonly maxBatch?: number;
  /** Prompt tokens that are read between two steps. Default 256, on the cuda device 1024. */
  readonly prefillChunk?: number;
}

export interface EngineStats {
  /** Requests that wait, whose prompt is being read; sequences that are being decoded. */
  readonly waiting: number;
  readonly reading: number;
  readonly decoding: number;
  /** Tokens since the beginning: read of prompts, and given out. */
  readonly prefilled: number;
  readonly generated: number;
}

/** Rows of logits of a prompt that exist at once. */
const LOGIT_ROWS = 64;

export class Engine {
  readonly model: LanguageModel;
  readonly #maxBatch: number;
  readonly #prefillChunk: number;
  readonly #waiting: Running[] = [];
  #reading: Reading | null = null;
  /** The sequences of the batch, in the order of the rows of its state. */
  #sequences: Sequence[] = [];
  readonly #batch: StateBatch;
  readonly #stepper: Stepper;
  #prefilled = 0;
  #generated = 0;
  #closed = false;
  #loop: Promise<void> | null = null;

  /** @throws RangeError when an option is no whole number of at least 1. */
  constructor(
    model: LanguageModel,
    { maxBatch = 8, prefillChunk = tokensAtOnce(model.device, 256) }: EngineOptions = {},
  ) {
    checkWhole('maxBatch', maxBatch, 1);
    checkWhole('prefillChunk', prefillChunk, 1);
    this.model = model;
    this.#maxBatch = maxBatch;
    this.#batch = new StateBatch(model, maxBatch);
    this.#stepper = new Stepper(model);
    this.#prefillChunk = prefillChunk;
  }

  get stats(): EngineStats {
    return {
      waiting: this.#waiting.length,
      reading: this.#reading === null ? 0 : 1,
      decoding: this.#sequences.length,
      prefilled: this.#prefilled,
      generated: this.#generated,
    };
  }

  /**
   * Queues a request; its events come as they happen. Leaving the loop before the end cancels it.
   * @throws RangeError for a request that cannot be. Error after `close`.
   */
  submit(request: EngineRequest): AsyncIterableIterator<EngineEvent> {
    if (this.#closed) throw new Error('engine: is closed');
    checkRequest(request, this.model.config.vocabSize);
    if ((request.n ?? 1) > this.#maxBatch) {
      throw new RangeError(`engine: ${request.n} completions are more than a batch holds (${this.#maxBatch})`);
    }
    const running = new Running(request);
    this.#waiting.push(running);
    this.#loop ??= this.#run();
    return running.channel;
  }

  /** Refuses further requests and waits for those that run. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#loop;
    this.#stepper.dispose();
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting.length > 0 || this.#reading !== null || this.#sequences.length > 0) {
        this.#drop();
        await this.#read();
        try {
          await this.#decode();
        } catch (error) {
          this.#failBatch(error);
        }
        await giveWay();
      }
    } finally {
      this.#loop = null;
    }
  }

  /** Ends what was cancelled. */
  #drop(): void {
    for (const running of this.#waiting.filter(({ cancelled }) => cancelled)) {
      this.#waiting.splice(this.#waiting.indexOf(running), 1);
      this.#abort(running);
    }
    if (this.#reading?.running.cancelled) this.#stopReading((running) => this.#abort(running));
    const cancelled = this.#sequences.filter(({ running }) => running.cancelled);
    for (const sequence of cancelled) this.#finish(sequence, 'aborted', null);
    if (cancelled.length > 0) this.#keep(this.#sequences.map((sequence) => !cancelled.includes(sequence)));
  }

  /** Ends all completions of a request that has not begun to decode. */
  #abort(running: Running): void {
    const n = running.request.n ?? 1;
    for (let index = 0; index < n; index++)
      running.channel.push({ kind: 'end', index, reason: 'aborted', saved: null });
    running.channel.end();
  }

  #stopReading(how: (running: Running) => void): void {
    const { running, state } = this.#reading!;
    this.#reading = null;
    state.dispose();
    how(running);
  }

  // ---- prompts -----------------------------------------------------------------------------------------------------

  /** Reads one chunk of the prompt whose turn it is. */
  async #read(): Promise<void> {
    if (this.#reading === null) {
      const next = this.#waiting[0];
      if (next === undefined || this.#sequences.length + (next.request.n ?? 1) > this.#maxBatch) return;
      this.#waiting.shift();
      const { state } = next.request;
      const first = state === undefined ? this.model.initialState(1) : state.state.clone();
      this.#reading = { running: next, state: first, position: 0, logits: state?.logits ?? null, prompt: [] };
    }
    const reading = this.#reading;
    try {
      if (reading.position < reading.running.request.tokens.length) await this.#readChunk(reading);
      if (reading.position === reading.running.request.tokens.length) this.#begin(reading);
    } catch (error) {
      if (this.#reading !== null) this.#stopReading(({ channel }) => channel.fail(error));
      else reading.running.channel.fail(error);
    }
  }

  async #readChunk(reading: Reading): Promise<void> {
    const { tokens, keepStatesAt = [], promptLogprobs } = reading.running.request;
    // Log-probabilities of a prompt are asked for to be compared, so they are not rounded.
    const [outputs, activations] =
      promptLogprobs === undefined ? (['last', this.model.readingActivations] as const) : (['all', 'float'] as const);
    const start = reading.position;
    const border = Math.min(...keepStatesAt.filter((at) => at > start), tokens.length);
    const end = Math.min(start + this.#prefillChunk, border);
    const options = { state: reading.state, outputs, activations };
    const { hidden, state } = readPart(this.model, tokens.subarray(start, end), options);
    reading.state.dispose();
    reading.state = state;
    reading.position = end;
    this.#prefilled += end - start;
    try {
      const rows = hidden.reshape([hidden.extent(1), hidden.extent(-1)]); // those of the chunk, or the last one
      if (promptLogprobs !== undefined) await this.#readLogprobs(reading, rows, start, promptLogprobs);
      else if (end === border) reading.logits = await hostLogits(this.model, rows);
    } finally {
      hidden.dispose();
    }
    if (keepStatesAt.includes(end)) {
      const { base, channel } = reading.running;
      const saved = { state: reading.state.clone(), tokens: base + end, sequences: 1, logits: reading.logits };
      channel.push({ kind: 'state', saved });
    }
  }

  /** Log-probabilities of the tokens that come after the hidden vectors of a chunk. */
  async #readLogprobs(reading: Reading, rows: Tensor, start: number, count: number): Promise<void> {
    const { tokens } = reading.running.request;
    const V = this.model.config.vocabSize;
    if (start === 0 && reading.logits !== null) {
      reading.prompt.push(givenLogprobs(reading.logits, tokens[0]!, count));
    }
    for (let first = 0; first < rows.extent(0); first += LOGIT_ROWS) {
      const end = Math.min(first + LOGIT_ROWS, rows.extent(0));
      const logits = await hostLogits(this.model, rows.rows(first, end));
      for (let row = first; row < end; row++) {
        const own = logits.subarray((row - first) * V, (row - first + 1) * V);
        const next = tokens[start + row + 1];
        if (next !== undefined) reading.prompt.push(givenLogprobs(own, next, count));
      }
      if (end === rows.extent(0)) reading.logits = logits.slice(-V); // a state that is kept here goes on from them
    }
  }

  /** The prompt has been read: its completions take their first token and join the batch. */
  #begin(reading: Reading): void {
    const { running, state, logits, prompt } = reading;
    const { n = 1, maxTokens, promptLogprobs } = running.request;
    const sequences = Array.from({ length: n }, (_, index) => new Sequence(running, index));
    this.#reading = null;
    if (promptLogprobs !== undefined) running.channel.push({ kind: 'prompt', tokens: prompt });
    let taken = false;
    try {
      const going = sequences.filter((sequence) => {
        const saved = (): SavedState => ({ state: state.clone(), tokens: sequence.read, sequences: 1, logits });
        if (maxTokens > 0) return this.#take(sequence, logits!, saved);
        this.#finish(sequence, 'length', saved);
        return false;
      });
      if (going.length === 0) return;
      taken = true;
      this.#batch.add(state, going.length);
      this.#sequences.push(...going);
    } finally {
      if (!taken) state.dispose();
    }
  }

  // ---- decoding ----------------------------------------------------------------------------------------------------

  /** One step of all sequences of the batch. */
  async #decode(): Promise<void> {
    if (this.#batch.count === 0) return;
    const sequences = this.#sequences;
    const tokens = Int32Array.from(sequences, ({ last }) => last);
    const { logits, state } = this.#stepper.step(tokens, this.#batch.state);
    this.#batch.advance(state);
    const values = await logits;
    const V = this.model.config.vocabSize;
    const stays = sequences.map((sequence, row) => {
      sequence.read++;
      const own = values.subarray(row * V, (row + 1) * V);
      const saved = (): SavedState => {
        return { state: this.#batch.take(row), tokens: sequence.read, sequences: 1, logits: own.slice() };
      };
      return this.#take(sequence, own, saved);
    });
    if (stays.includes(false)) this.#keep(stays);
  }

  /** A step that cannot be made ends all sequences of the batch. */
  #failBatch(error: unknown): void {
    for (const { running } of this.#sequences) running.channel.fail(error);
    this.#sequences = [];
    this.#batch.dispose();
  }

  /**
   * Chooses the next token of a sequence and gives it out.
   * @param saved  makes a copy of the state behind the logits, where it is wanted
   * @returns      whether the sequence goes on
   */
  #take(sequence: Sequence, logits: FloatArray, saved: () => SavedState): boolean {
    const { running, sampler, index } = sequence;
    const { maxTokens, stopTokens = [] } = running.request;
    try {
      const sample = sampler.sample(logits);
      if (stopTokens.includes(sample.token)) {
        this.#finish(sequence, 'stop', saved);
        return false;
      }
      sequence.last = sample.token;
      sequence.count++;
      this.#generated++;
      running.channel.push({ kind: 'token', index, sample });
      if (sequence.count < maxTokens) return true;
      this.#finish(sequence, 'length', saved);
    } catch (error) {
      running.channel.fail(error);
      running.left = true; // its other completions end as well
    }
    return false;
  }

  #finish({ running, index }: Sequence, reason: 'stop' | 'length' | 'aborted', saved: (() => SavedState) | null): void {
    const wanted = running.request.keepFinalState && !running.left;
    running.channel.push({ kind: 'end', index, reason, saved: wanted && saved !== null ? saved() : null });
    if (--running.open === 0) running.channel.end();
  }

  /** Takes the others out of the batch. */
  #keep(stays: readonly boolean[]): void {
    const before = this.#sequences;
    this.#sequences = this.#batch.keep(stays).map((row) => before[row]!);
  }
}
