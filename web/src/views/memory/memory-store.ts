/** @file What the view "Memory" knows: the text, what the worker found in it, and which head and token is looked at. */
import type { MemoryCalls, MlstmSeries, SlstmSeries, TextTrace } from '../../protocol-memory.js';
import { Observable, sentenceOf } from '../parts/observable.js';

/** Asks the worker. */
export type MemoryCall = <K extends keyof MemoryCalls>(
  kind: K,
  fields: MemoryCalls[K]['fields'],
) => Promise<MemoryCalls[K]['answer']>;

/** A head, counted from 0. */
export interface Place {
  readonly block: number;
  readonly head: number;
}

export interface MemoryState {
  readonly text: string;
  readonly isReading: boolean;
  /** What went wrong last, in a sentence. */
  readonly problem: string | null;
  readonly trace: TextTrace | null;
  readonly place: Place;
  /** Of the head that is looked at; null until it is there. */
  readonly series: MlstmSeries | SlstmSeries | null;
  /** The token that was picked, and the one that is pointed at. */
  readonly token: number;
  readonly pointed: number | null;
}

const OFFERED =
  'My fellow Americans, the state of our Union is strong. Our economy is strong, our people are strong, and our Union will ' +
  'be stronger still.';

export class MemoryStore extends Observable<MemoryState> {
  readonly call: MemoryCall;

  constructor(call: MemoryCall) {
    const place = { block: 0, head: 0 };
    super({
      text: OFFERED,
      isReading: false,
      problem: null,
      trace: null,
      place,
      series: null,
      token: 0,
      pointed: null,
    });
    this.call = call;
  }

  setText(text: string): void {
    this.change({ text });
  }

  /** Reads the text with the model as it is now. */
  async read(): Promise<void> {
    if (this.state.isReading) return;
    this.change({ isReading: true, problem: null });
    try {
      const trace = await this.call('readMemory', { text: this.state.text });
      const { place, token } = this.state;
      const isThere = place.head < (trace.blocks[place.block]?.heads.length ?? 0);
      const first = Math.max(
        0,
        trace.blocks.findIndex(({ heads }) => heads.length > 0),
      );
      const middle = Math.floor(trace.tokens.length / 2);
      this.change({
        trace,
        series: null,
        pointed: null,
        token: token > 0 && token < trace.tokens.length ? token : middle,
      });
      await this.pickHead(isThere ? place : { block: first, head: 0 });
    } catch (error) {
      this.change({ problem: sentenceOf(error) });
    } finally {
      this.change({ isReading: false });
    }
  }

  async pickHead(place: Place): Promise<void> {
    this.change({ place });
    if (this.state.trace?.blocks[place.block]?.heads.length === 0) return;
    try {
      const series = await this.call('memoryHead', place);
      if (this.state.place === place) this.change({ series });
    } catch (error) {
      this.change({ problem: sentenceOf(error) });
    }
  }

  /** Looks at a token from now on. */
  pickToken(token: number): void {
    this.change({ token, pointed: null });
  }

  /** Looks at a token for as long as it is pointed at; null: at none. */
  point(pointed: number | null): void {
    if (pointed !== this.state.pointed) this.change({ pointed });
  }
}
