/**
 * @file The bodies of requests: what OpenAI's API has of them, with what this server adds, checked and in the terms of a job.
 * Unknown fields are refused, so that a misspelt one is not silently without effect.
 */
import * as z from 'zod';
import { MAX_LOGPROBS, type SamplingOptions } from '../generate/sampling-options.js';
import { ApiError } from './errors.js';
import type { ChatMessage, Job, JobPrompt } from './protocol.js';

/** Fields of clients that have no effect here, and do no harm. */
const IGNORED = Object.fromEntries(
  ['user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'prompt_cache_key', 'parallel_tool_calls'].map(
    (name) => [name, z.unknown().optional()],
  ),
);

const stop = z.union([z.string().min(1), z.array(z.string().min(1)).max(16)]).nullish();

const shared = {
  model: z.string().optional(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.number().int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  typical_p: z.number().positive().max(1).nullish(),
  repetition_penalty: z.number().positive().max(100).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z.record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100)).nullish(),
  seed: z.number().int().min(-Number.MAX_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER).nullish(),
  n: z.number().int().min(1).max(128).nullish(),
  stop,
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().optional(), include_obfuscation: z.boolean().optional() })
    .nullish(),
  ignore_eos: z.boolean().nullish(),
  state_id: z.string().max(100).nullish(),
  keep_state: z.boolean().nullish(),
  ...IGNORED,
} as const;

const maxTokens = () => z.number().int().min(0).max(10_000_000).nullish();
const ids = z.array(z.number().int().min(0).max(0x7fffffff));

const completionSchema = z.strictObject({
  ...shared,
  prompt: z.union([z.string(), ids, z.array(z.string()).min(1).max(128), z.array(ids).min(1).max(128)]),
  max_tokens: maxTokens(),
  logprobs: z.number().int().min(0).max(MAX_LOGPROBS).nullish(),
  echo: z.boolean().nullish(),
  best_of: z.number().int().nullish(),
  suffix: z.union([z.literal(''), z.null()], 'is not supported').optional(),
});

const contentPart = z.object({ type: z.literal('text', 'only text is supported'), text: z.string() });

const chatSchema = z.strictObject({
  ...shared,
  messages: z
    .array(
      z.object({
        role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
        content: z.union([z.string(), z.array(contentPart)]).nullish(),
        name: z.string().optional(),
      }),
    )
    .min(1)
    .max(10_000),
  max_tokens: maxTokens(),
  max_completion_tokens: maxTokens(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(MAX_LOGPROBS).nullish(),
  tools: z.array(z.unknown()).max(0, 'tools are not supported').nullish(),
  tool_choice: z.enum(['none', 'auto'], 'tools are not supported').nullish(),
  response_format: z.strictObject({ type: z.literal('text', 'only text is supported') }).nullish(),
  reasoning_effort: z.unknown().optional(),
  modalities: z.array(z.literal('text', 'only text is supported')).nullish(),
});

const stateSchema = z.strictObject({
  prompt: z.union([z.string(), ids]).optional(),
  messages: chatSchema.shape.messages.optional(),
  from: z.string().max(100).nullish(),
});

/** A request for completions: a job for each prompt. */
export interface CompletionRequest {
  readonly jobs: readonly Job[];
  readonly n: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

function checked<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue!.code === 'unrecognized_keys') {
    const name = [...issue.path, issue.keys[0]!].join('.');
    throw new ApiError(400, `unknown field "${name}"`, name, 'unknown_field');
  }
  const param = issue!.path.join('.');
  throw new ApiError(400, `${param === '' ? 'body' : param}: ${issue!.message}`, param === '' ? null : param);
}

type Shared = z.output<z.ZodObject<typeof shared>>;

/** @throws ApiError naming the field at fault. */
export function readCompletion(body: unknown): CompletionRequest {
  const fields = checked(completionSchema, body);
  const { prompt, logprobs, echo, best_of: bestOf, max_tokens: most } = fields;
  const n = fields.n ?? 1;
  if (bestOf !== null && bestOf !== undefined && bestOf !== n) {
    throw new ApiError(400, 'best_of: must be n; choosing among more is not supported', 'best_of');
  }
  const settings = {
    ...settingsOf(fields),
    sampling: { ...samplingOf(fields), ...(typeof logprobs === 'number' && { logprobs }) },
    maxTokens: most ?? 16,
    echo: echo ?? false,
  };
  const jobs = promptsOf(prompt).map((one): Job => ({ ...settings, prompt: one }));
  return { jobs, n, ...streamOf(fields) };
}

/** A prompt is a text, token ids, or a list of either. */
function promptsOf(prompt: z.output<typeof completionSchema>['prompt']): JobPrompt[] {
  if (typeof prompt === 'string') return [{ kind: 'text', text: prompt }];
  if (prompt.length === 0 || typeof prompt[0] === 'number') return [{ kind: 'tokens', tokens: prompt as number[] }];
  return (prompt as (string | number[])[]).map((one) =>
    typeof one === 'string' ? { kind: 'text', text: one } : { kind: 'tokens', tokens: one },
  );
}

/** @throws ApiError naming the field at fault. */
export function readChat(body: unknown): CompletionRequest {
  const fields = checked(chatSchema, body);
  const { logprobs, top_logprobs: top, max_tokens: most, max_completion_tokens: mostOfChat } = fields;
  if (typeof top === 'number' && logprobs !== true) {
    throw new ApiError(400, 'top_logprobs: needs logprobs true', 'top_logprobs');
  }
  const job: Job = {
    ...settingsOf(fields),
    sampling: { ...samplingOf(fields), ...(logprobs === true && { logprobs: top ?? 0 }) },
    prompt: { kind: 'chat', messages: messagesOf(fields.messages) },
    maxTokens: mostOfChat ?? most ?? 1024,
    echo: false,
  };
  return { jobs: [job], n: job.n, ...streamOf(fields) };
}

function messagesOf(messages: z.output<typeof chatSchema>['messages']): ChatMessage[] {
  return messages.map(({ role, content, name }) => ({
    role,
    content: typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join(''),
    ...(name !== undefined && { name }),
  }));
}

/** A state to be kept: after which prompt, and after which state that comes. @throws ApiError naming the field at fault. */
export function readKeepState(body: unknown): { readonly prompt: JobPrompt; readonly from: string | null } {
  const { prompt, messages, from = null } = checked(stateSchema, body);
  if ((prompt === undefined) === (messages === undefined)) {
    throw new ApiError(400, 'body: give either a prompt or messages', 'prompt');
  }
  if (messages !== undefined) return { prompt: { kind: 'chat', messages: messagesOf(messages) }, from };
  return { prompt: promptsOf(prompt!)[0]!, from };
}

const streamOf = ({ stream, stream_options: options }: Shared) => ({
  stream: stream ?? false,
  includeUsage: options?.include_usage ?? false,
});

const settingsOf = ({ n, stop: stops, ignore_eos: ignoreEos, state_id: stateId, keep_state: keepState }: Shared) => ({
  n: n ?? 1,
  stop: typeof stops === 'string' ? [stops] : (stops ?? []),
  ignoreEos: ignoreEos ?? false,
  stateId: stateId ?? null,
  keepState: keepState ?? false,
});

/** Without a seed each request draws anew. */
function samplingOf(fields: Shared): SamplingOptions {
  const given = {
    temperature: fields.temperature,
    topK: fields.top_k,
    topP: fields.top_p,
    minP: fields.min_p,
    typical: fields.typical_p,
    repetitionPenalty: fields.repetition_penalty,
    presencePenalty: fields.presence_penalty,
    frequencyPenalty: fields.frequency_penalty,
    logitBias: fields.logit_bias,
    seed: Math.abs(fields.seed ?? Math.floor(Math.random() * 2 ** 50)),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null && value !== undefined));
}
