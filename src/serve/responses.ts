/** @file The bodies of answers: events of jobs in the forms of OpenAI's API, whole or as pieces of a stream. */
import { randomUUID } from 'node:crypto';
import type { JobEvent, TokenText } from './protocol.js';

export interface Usage {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
}

const usageBody = ({ promptTokens, cachedTokens, completionTokens }: Usage) => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
});

/** One choice of an answer, as far as it has come. */
export interface Choice {
  text: string;
  readonly tokens: TokenText[];
  reason: string | null;
  stateId: string | null;
}

/** The form of one of the two endpoints. */
export interface Form {
  /** A whole answer. */
  whole(choices: readonly Choice[], usage: Usage): unknown;
  /** What comes first in a stream, for each choice; null for nothing. */
  first(index: number): unknown;
  /** A piece of a stream. `offset`: characters of the choice's text before it. */
  piece(index: number, text: string, tokens: readonly TokenText[], offset: number): unknown;
  last(index: number, reason: string, stateId: string | null): unknown;
  usage(usage: Usage): unknown;
}

/** Log-probabilities as /v1/completions has them. */
function completionLogprobs(tokens: readonly TokenText[], start: number) {
  let offset = start;
  return {
    tokens: tokens.map(({ text }) => text),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ logprob, top }) =>
      logprob === null ? null : Object.fromEntries(top.map((one) => [one.text, one.logprob])),
    ),
    text_offset: tokens.map(({ text }) => {
      offset += text.length;
      return offset - text.length;
    }),
  };
}

/** Log-probabilities as /v1/chat/completions has them. */
const chatLogprobs = (tokens: readonly TokenText[]) => ({
  content: tokens.map(({ text, bytes, logprob, top }) => ({
    token: text,
    logprob,
    bytes,
    top_logprobs: top.map((one) => ({ token: one.text, logprob: one.logprob, bytes: one.bytes })),
  })),
  refusal: null,
});

const now = (): number => Math.floor(Date.now() / 1000);
/** A kept state is told where one was asked for. */
const stateField = (stateId: string | null) => (stateId === null ? {} : { state_id: stateId });

export function completionForm(model: string, logprobs: boolean): Form {
  const head = { id: `cmpl-${randomUUID()}`, object: 'text_completion', created: now(), model };
  const chunk = (index: number, text: string, tokens: readonly TokenText[], offset: number, reason: string | null) => ({
    ...head,
    choices: [{ index, text, logprobs: logprobs ? completionLogprobs(tokens, offset) : null, finish_reason: reason }],
  });
  return {
    whole: (choices, usage) => ({
      ...head,
      choices: choices.map(({ text, tokens, reason, stateId }, index) => ({
        index,
        text,
        logprobs: logprobs ? completionLogprobs(tokens, 0) : null,
        finish_reason: reason,
        ...stateField(stateId),
      })),
      usage: usageBody(usage),
    }),
    first: () => null,
    piece: (index, text, tokens, offset) => chunk(index, text, tokens, offset, null),
    last: (index, reason, stateId) => {
      const { choices, ...rest } = chunk(index, '', [], 0, reason);
      return { ...rest, choices: [{ ...choices[0], logprobs: null, ...stateField(stateId) }] };
    },
    usage: (usage) => ({ ...head, choices: [], usage: usageBody(usage) }),
  };
}

export function chatForm(model: string, logprobs: boolean): Form {
  const id = `chatcmpl-${randomUUID()}`;
  const head = { id, object: 'chat.completion', created: now(), model };
  const chunkHead = { ...head, object: 'chat.completion.chunk' };
  const chunk = (index: number, delta: object, reason: string | null, more: object = {}) => ({
    ...chunkHead,
    choices: [{ index, delta, logprobs: null, finish_reason: reason, ...more }],
  });
  return {
    whole: (choices, usage) => ({
      ...head,
      choices: choices.map(({ text, tokens, reason, stateId }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: logprobs ? chatLogprobs(tokens) : null,
        finish_reason: reason,
        ...stateField(stateId),
      })),
      usage: usageBody(usage),
    }),
    first: (index) => chunk(index, { role: 'assistant', content: '' }, null),
    piece: (index, text, tokens) =>
      chunk(index, { content: text }, null, logprobs ? { logprobs: chatLogprobs(tokens) } : {}),
    last: (index, reason, stateId) => chunk(index, {}, reason, stateField(stateId)),
    usage: (usage) => ({ ...chunkHead, choices: [], usage: usageBody(usage) }),
  };
}

/** Why a completion ended, in the words of the API. */
export const finishReason = ({ reason }: Extract<JobEvent, { kind: 'end' }>): string =>
  reason === 'aborted' ? 'stop' : reason;
