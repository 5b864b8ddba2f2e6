/** @file One completion in the model's thread: its prompt as tokens, its tokens as text, the states it leaves for reuse. */
import type { Engine, EngineEvent } from '../generate/engine.js';
import type { SampledToken } from '../generate/sampler.js';
import type { TextModel } from '../generate/text-model.js';
import { TextStream } from '../generate/text-stream.js';
import type { SavedState } from '../model/state-file.js';
import type { Tokenizer } from '../tokens/tokenizer.js';
import type { ChatTemplate } from './chat-template.js';
import { ApiError } from './errors.js';
import type { KeptState, KeptStates } from './kept-states.js';
import type { ChatMessage, Job, JobEvent, JobPrompt, ModelOptions, StateInfo, TokenText } from './protocol.js';
import type { StateCache } from './state-cache.js';

/** What completions share. */
export interface Workplace {
  readonly text: TextModel;
  readonly template: ChatTemplate | null;
  readonly engine: Engine;
  readonly cache: StateCache;
  readonly kept: KeptStates;
  readonly options: ModelOptions;
  /** Prompt tokens that a kept state spared. */
  reused: number;
}

/** Messages whose ends are looked for: earlier ones were kept by the requests before. */
const LAST_MESSAGES = 4;

interface Prompt {
  readonly tokens: Int32Array;
  /** Numbers of tokens after which a message ends. */
  readonly borders: readonly number[];
}

/** @throws ApiError for a prompt that cannot be. */
export function promptOf({ text, template, options }: Workplace, prompt: JobPrompt, continues: boolean): Prompt {
  const result =
    prompt.kind === 'chat' ? chatPrompt(text.tokenizer, template, prompt.messages) : plainPrompt(text, prompt);
  const { tokens } = result;
  if (tokens.length > options.maxPromptTokens) {
    const message = `the prompt has ${tokens.length} tokens, more than the ${options.maxPromptTokens} that are allowed`;
    throw new ApiError(413, message, prompt.kind === 'chat' ? 'messages' : 'prompt', 'prompt_too_long');
  }
  const at = tokens.findIndex((token) => token < 0 || token >= text.model.config.vocabSize);
  if (at !== -1) throw new ApiError(400, `prompt: there is no token ${tokens[at]} (at position ${at})`, 'prompt');
  if (tokens.length > 0 || continues) return result;
  const begin = text.tokenizer.bosId ?? text.tokenizer.eosId;
  if (begin === null)
    throw new ApiError(400, 'prompt: is empty, and the model has no token that begins a text', 'prompt');
  return { tokens: Int32Array.of(begin), borders: [] };
}

function plainPrompt({ tokenizer }: TextModel, prompt: Exclude<JobPrompt, { kind: 'chat' }>): Prompt {
  if (prompt.kind === 'tokens') return { tokens: Int32Array.from(prompt.tokens), borders: [] };
  return { tokens: encode(tokenizer, prompt.text, 'prompt'), borders: [] };
}

function encode(tokenizer: Tokenizer, text: string, param: string): Int32Array {
  try {
    return tokenizer.encode(text, { addSpecial: param === 'prompt' });
  } catch (error) {
    throw new ApiError(400, `${param}: ${(error as Error).message}`, param);
  }
}

function chatPrompt(tokenizer: Tokenizer, template: ChatTemplate | null, messages: readonly ChatMessage[]): Prompt {
  if (template === null) {
    const message = 'this model has no chat template (tokenizer_config.json, chat_template.jinja); use /v1/completions';
    throw new ApiError(400, message, 'messages', 'no_chat_template');
  }
  const whole = template.render(messages, true);
  const tokens = encode(tokenizer, whole, 'messages');
  const borders = new Set<number>();
  for (let count = Math.max(1, messages.length - LAST_MESSAGES); count <= messages.length; count++) {
    let part: string;
    try {
      part = template.render(messages.slice(0, count), false);
    } catch {
      continue; // a template may refuse a conversation that ends here
    }
    if (!whole.startsWith(part)) continue;
    // What comes next may change the last tokens of a part: the border is where the tokens still agree.
    const border = commonLength(tokens, encode(tokenizer, part, 'messages'));
    if (border > 0) borders.add(border);
  }
  return { tokens, borders: [...borders] };
}

function commonLength(a: Int32Array, b: Int32Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/**
 * Runs a completion and tells what happens.
 * @throws ApiError for what cannot be; Error when the model has diverged.
 */
export async function complete(
  place: Workplace,
  job: Job,
  signal: AbortSignal,
  tell: (event: JobEvent) => void,
): Promise<void> {
  const from = job.stateId === null ? null : place.kept.get(job.stateId);
  const prompt = promptOf(place, job.prompt, from !== null);
  const start = await startOf(place, job, prompt, from);
  const { tokenizer } = place.text;
  const outputs = Array.from({ length: job.n }, () => new Output(place, job, prompt.tokens));
  const read = prompt.tokens.subarray(start.length);
  place.reused += start.length;
  const wantsPrompt = job.echo && job.sampling.logprobs !== undefined;
  const events = place.engine.submit({
    tokens: read,
    ...(start.saved !== null && { state: start.saved }),
    sampling: { ...job.sampling, vocabSize: tokenizer.vocabSize },
    n: job.n,
    maxTokens: job.maxTokens,
    stopTokens: job.ignoreEos ? [] : place.text.stopTokens,
    signal,
    ...(wantsPrompt && { promptLogprobs: job.sampling.logprobs }),
    keepStatesAt:
      from !== null
        ? []
        : [...prompt.borders, prompt.tokens.length].map((at) => at - start.length).filter((at) => at > 0),
    keepFinalState: from === null || job.keepState,
  });
  const started = (given: readonly SampledToken[]): void =>
    tell({
      kind: 'started',
      promptTokens: prompt.tokens.length,
      cachedTokens: start.length,
      prompt: job.echo ? echoOf(tokenizer, prompt.tokens, given) : null,
    });
  if (!wantsPrompt) started([]);
  let completionTokens = 0;
  try {
    for await (const event of events) {
      if (event.kind === 'prompt') started(event.tokens);
      else if (event.kind === 'state') await keepBorder(place, prompt.tokens, event.saved);
      else if (event.kind === 'token') {
        completionTokens++;
        outputs[event.index]!.token(event.sample, event.index, tell);
        if (outputs.every(({ stopped }) => stopped)) break; // leaving cancels what is still decoded
      } else await end(place, job, outputs[event.index]!, prompt.tokens, event, from, tell);
    }
  } finally {
    start.saved?.state.dispose();
  }
  outputs.forEach((output, index) => {
    if (!output.ended) output.end(index, 'stop', null, tell); // a stop string ended it
  });
  tell({ kind: 'done', completionTokens });
}

/** A copy of the state that a prompt goes on from: the one that was named, or that of the longest known beginning. */
async function startOf(
  { cache }: Workplace,
  job: Job,
  { tokens }: Prompt,
  from: KeptState | null,
): Promise<{ saved: SavedState | null; length: number }> {
  if (from !== null) return { saved: copyOf(from.saved), length: 0 };
  // With log-probabilities of the prompt all of it has to be read.
  if (job.echo && job.sampling.logprobs !== undefined) return { saved: null, length: 0 };
  const found = await cache.find(tokens);
  return found === null ? { saved: null, length: 0 } : { saved: copyOf(found.saved), length: found.length };
}

/** The request may wait, and meanwhile the state may be deleted or moved to disk. */
const copyOf = (saved: SavedState): SavedState => ({ ...saved, state: saved.state.clone() });

/** Keeps a state inside of the prompt for the next request. */
const keepBorder = ({ cache }: Workplace, tokens: Int32Array, saved: SavedState): Promise<void> =>
  cache.keep(tokens.subarray(0, saved.tokens), saved);

async function end(
  { cache, kept }: Workplace,
  job: Job,
  output: Output,
  prompt: Int32Array,
  event: Extract<EngineEvent, { kind: 'end' }>,
  from: KeptState | null,
  tell: (event: JobEvent) => void,
): Promise<void> {
  const { saved, index, reason } = event;
  let stateId: string | null = null;
  if (saved !== null) {
    const base = from?.tokens ?? [];
    const tokens = Int32Array.from([...base, ...prompt, ...output.ids]).subarray(0, saved.tokens);
    if (job.keepState) stateId = kept.keep(tokens, { ...saved, state: saved.state.clone() });
    if (from === null) await cache.keep(tokens, saved);
    else saved.state.dispose();
  }
  if (!output.ended) output.end(index, output.stopped ? 'stop' : reason, stateId, tell);
}

/** The text of a prompt with its tokens; those that were given log-probabilities carry them. */
function echoOf(tokenizer: Tokenizer, tokens: Int32Array, given: readonly SampledToken[]) {
  const known = tokens.length - given.length;
  return {
    text: tokenizer.decode(tokens),
    tokens: Array.from(tokens, (token, k) =>
      tokenText(tokenizer, given[k - known] ?? { token, logprob: null, top: [] }),
    ),
  };
}

function tokenText(tokenizer: Tokenizer, { token, logprob, top }: SampledToken): TokenText {
  const described = (id: number) => {
    const bytes = tokenizer.tokenBytes(id);
    return { text: tokenizer.decode([id]), bytes: bytes === null ? null : [...bytes] };
  };
  return { ...described(token), logprob, top: top.map((one) => ({ ...described(one.token), logprob: one.logprob })) };
}

/** The text of one completion. */
class Output {
  readonly ids: number[] = [];
  readonly #tokenizer: Tokenizer;
  readonly #stream: TextStream;
  readonly #describe: boolean;
  #pending: TokenText[] = [];
  ended = false;

  constructor({ text }: Workplace, { stop, sampling }: Job, prompt: Int32Array) {
    this.#tokenizer = text.tokenizer;
    this.#stream = new TextStream(text.tokenizer, { stop, prompt });
    this.#describe = sampling.logprobs !== undefined;
  }

  /** Whether a stop string has ended it. */
  get stopped(): boolean {
    return this.#stream.stopped;
  }

  token(sample: SampledToken, index: number, tell: (event: JobEvent) => void): void {
    if (this.stopped) return;
    this.ids.push(sample.token);
    const { text, stopped } = this.#stream.push(sample.token);
    if (this.#describe) this.#pending.push(tokenText(this.#tokenizer, sample));
    if (text !== '' || stopped || this.#pending.length > 0) this.#give(index, text, tell);
  }

  end(
    index: number,
    reason: 'stop' | 'length' | 'aborted',
    stateId: string | null,
    tell: (event: JobEvent) => void,
  ): void {
    const text = this.#stream.end();
    if (text !== '' || this.#pending.length > 0) this.#give(index, text, tell);
    this.ended = true;
    tell({ kind: 'end', index, reason, stateId });
  }

  #give(index: number, text: string, tell: (event: JobEvent) => void): void {
    tell({ kind: 'piece', index, text, tokens: this.#pending });
    this.#pending = [];
  }
}

/**
 * Reads a prompt and keeps the state after it.
 * @param from  id of a kept state that the prompt comes after; null for none
 * @returns     what was kept
 * @throws ApiError for what cannot be.
 */
export async function keepPromptState(place: Workplace, given: JobPrompt, from: string | null): Promise<StateInfo> {
  const before = from === null ? null : place.kept.get(from);
  const { tokens } = promptOf(place, given, before !== null);
  const state = before === null ? null : copyOf(before.saved);
  try {
    const request = { tokens, maxTokens: 0, keepFinalState: true, ...(state !== null && { state }) };
    for await (const event of place.engine.submit(request)) {
      if (event.kind !== 'end' || event.saved === null) continue;
      const id = place.kept.keep(Int32Array.from([...(before?.tokens ?? []), ...tokens]), event.saved);
      return place.kept.get(id).info;
    }
  } finally {
    state?.state.dispose();
  }
  throw new ApiError(500, 'the prompt could not be read');
}
