/**
 * @file Nearest-neighbour search, live: starts, stops and asks the two models that learn it. What they are and how they learn
 * is in `search-pair.ts`.
 */
import type { Device } from 'xlstm';
import type { SearchCalls, SearchEvent } from '../protocol-memory.js';
import { MODELS_LOST, SearchPair } from './search-pair.js';

/** What these handlers need of the worker's context. */
export interface SearchContext {
  readonly device: Device;
  readonly emit: (event: SearchEvent) => void;
}

type Handlers = {
  readonly [Name in keyof SearchCalls]: (
    fields: SearchCalls[Name]['fields'],
    context: SearchContext,
  ) => Promise<SearchCalls[Name]['answer']>;
};

let pair: SearchPair | null = null;

export const searchHandlers: Handlers = {
  startSearch: async ({ settings }, { device, emit }) => {
    const before = pair;
    pair = null; // should one of the next lines fail, as on a device that was lost
    await before?.stop();
    before?.dispose();
    pair = new SearchPair(device, settings);
    pair.start(emit);
    return { parameters: pair.parameters };
  },
  resumeSearch: async (_, { device, emit }) => {
    started(device).start(emit);
    return null;
  },
  stopSearch: async () => {
    await pair?.stop();
    return null;
  },
  drawSequence: ({ number }, { device }) => started(device).draw(number),
};

function started(device: Device): SearchPair {
  if (pair === null) throw new Error('Start the search first.');
  if (pair.device !== device) throw new Error(MODELS_LOST);
  return pair;
}
