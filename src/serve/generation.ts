/** @file Completions over HTTP: jobs of the model's thread as whole answers or streams, within the limits of the server. */
import type { Context } from 'hono';
import type { AppOptions, Bindings, Service } from './app.js';
import { ApiError } from './errors.js';
import type { Job, JobEvent } from './protocol.js';
import type { CompletionRequest } from './requests.js';
import { chatForm, completionForm, finishReason, type Choice, type Form, type Usage } from './responses.js';

type Limits = Pick<AppOptions, 'maxRequests' | 'maxSeconds'>;

/** Bytes of a stream that wait to be sent; then the events of the job wait (see `model-host.ts`). */
const MAX_BEHIND = 1 << 16;

export class Generation {
  readonly #service: Service;
  readonly #limits: Limits;
  #running = 0;

  constructor(service: Service, limits: Limits) {
    this.#service = service;
    this.#limits = limits;
  }

  /** Runs `work` as so many of the requests that may run and wait. @throws ApiError when there are too many. */
  async counted<T>(count: number, work: () => Promise<T>): Promise<T> {
    this.#enter(count);
    try {
      return await work();
    } finally {
      this.#running -= count;
    }
  }

  #enter(count: number): void {
    if (this.#service.draining) throw new ApiError(503, 'the server is ending');
    if (this.#running + count > this.#limits.maxRequests) {
      throw new ApiError(429, 'too many requests are waiting; try again later', null, 'queue_full');
    }
    this.#running += count;
  }

  /** The answer to a request: a body, or a stream of server-sent events. */
  async answer(c: Context<Bindings>, kind: 'completion' | 'chat', request: CompletionRequest): Promise<Response> {
    const { jobs } = request;
    const form = (kind === 'chat' ? chatForm : completionForm)(
      this.#service.host.model.name,
      jobs[0]!.sampling.logprobs !== undefined,
    );
    this.#enter(jobs.length);
    const answer = new Answer(this.#service, jobs, this.#limits.maxSeconds, () => (this.#running -= jobs.length));
    // The client leaves: nobody wants the rest.
    c.env.outgoing.on('close', () => answer.cancel());
    if (!request.stream) return c.json((await answer.whole(form)) as object);
    await answer.start(); // what is refused has a status of its own; once the stream has begun it cannot
    c.header('Content-Type', 'text/event-stream; charset=utf-8');
    c.header('X-Accel-Buffering', 'no');
    return c.body(answer.stream(form, request.includeUsage));
  }
}

/** The jobs of one request, one after the other in the order of the prompts for a stream, all at once else. */
class Answer {
  readonly #service: Service;
  readonly #jobs: readonly Job[];
  readonly #events: readonly AsyncIterableIterator<JobEvent>[];
  readonly #usage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  readonly #begun = performance.now();
  readonly #deadline: NodeJS.Timeout;
  readonly #onEnd: () => void;
  /** The first event of the first job, read ahead. */
  #first: IteratorResult<JobEvent> | null = null;
  #last = 0;
  #timedOut = false;
  #ended = false;

  constructor(service: Service, jobs: readonly Job[], maxSeconds: number, onEnd: () => void) {
    this.#service = service;
    this.#jobs = jobs;
    this.#events = jobs.map((job) => service.host.run(job));
    this.#onEnd = onEnd;
    this.#deadline = setTimeout(() => {
      this.#timedOut = true;
      this.cancel();
    }, maxSeconds * 1000);
  }

  /** Ends what still runs. */
  cancel(): void {
    for (const events of this.#events) void events.return!();
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#deadline);
    this.#service.metrics.duration.observe((performance.now() - this.#begun) / 1000);
    this.#onEnd();
  }

  /** Waits until the first job has begun. @throws ApiError when it is refused. */
  async start(): Promise<void> {
    this.#first = await this.#events[0]!.next();
    const event = this.#first.value as JobEvent | undefined;
    if (event?.kind !== 'failed') return;
    this.cancel();
    throw new ApiError(event.status, event.message, event.param);
  }

  /** Events of all jobs with the index of their job, each job whole before the next: they run at the same time all the same. */
  async *#all(): AsyncGenerator<readonly [job: number, event: JobEvent]> {
    for (const [k, events] of this.#events.entries()) {
      for (;;) {
        const { done, value: event } = (k === 0 && this.#takeFirst()) || (await events.next());
        if (done === true) break;
        if (event.kind === 'failed') throw new ApiError(event.status, event.message, event.param);
        if (event.kind === 'started') this.#started(event);
        if (event.kind === 'piece') this.#measure();
        if (event.kind === 'done') this.#usage.completionTokens += event.completionTokens;
        yield [k, event];
      }
    }
    if (this.#timedOut) throw new ApiError(504, 'the request took longer than the server allows', null, 'timeout');
  }

  #takeFirst(): IteratorResult<JobEvent> | null {
    const first = this.#first;
    this.#first = null;
    return first;
  }

  #started({ promptTokens, cachedTokens }: Extract<JobEvent, { kind: 'started' }>): void {
    this.#usage.promptTokens += promptTokens;
    this.#usage.cachedTokens += cachedTokens;
  }

  #measure(): void {
    const now = performance.now();
    const { firstToken, perToken } = this.#service.metrics;
    if (this.#last === 0) firstToken.observe((now - this.#begun) / 1000);
    else perToken.observe((now - this.#last) / 1000);
    this.#last = now;
  }

  /** The whole answer. @throws ApiError when it fails, or takes too long. */
  async whole(form: Form): Promise<unknown> {
    const n = this.#jobs[0]!.n;
    const choices = Array.from({ length: n * this.#jobs.length }, (): Choice => {
      return { text: '', tokens: [], reason: null, stateId: null };
    });
    try {
      for await (const [k, event] of this.#all()) {
        if (event.kind === 'started' && event.prompt !== null) {
          for (let index = 0; index < n; index++) addTo(choices[k * n + index]!, event.prompt);
        } else if (event.kind === 'piece') addTo(choices[k * n + event.index]!, event);
        else if (event.kind === 'end') {
          const choice = choices[k * n + event.index]!;
          choice.reason = finishReason(event);
          choice.stateId = event.stateId;
        }
      }
      return form.whole(choices, this.#usage);
    } finally {
      this.cancel();
    }
  }

  /** The answer as server-sent events, ending in [DONE]. A client that does not read is left. */
  stream(form: Form, includeUsage: boolean): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    const data = (value: unknown): Uint8Array =>
      encoder.encode(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`);
    const lines = this.#lines(form, includeUsage);
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await lines.next();
          if (done === true) controller.close();
          else controller.enqueue(data(value));
        },
        cancel: () => this.cancel(),
      },
      { highWaterMark: MAX_BEHIND, size: (chunk) => chunk?.byteLength ?? 0 },
    );
  }

  async *#lines(form: Form, includeUsage: boolean): AsyncGenerator<unknown, void> {
    const n = this.#jobs[0]!.n;
    const offsets = new Map<number, number>();
    const piece = function* (index: number, text: string, tokens: Choice['tokens']) {
      const offset = offsets.get(index) ?? 0;
      offsets.set(index, offset + text.length);
      yield form.piece(index, text, tokens, offset);
    };
    try {
      for await (const [k, event] of this.#all()) {
        if (event.kind === 'started') {
          for (let index = k * n; index < (k + 1) * n; index++) {
            const first = form.first(index);
            if (first !== null) yield first;
            if (event.prompt !== null) yield* piece(index, event.prompt.text, [...event.prompt.tokens]);
          }
        } else if (event.kind === 'piece') yield* piece(k * n + event.index, event.text, [...event.tokens]);
        else if (event.kind === 'end') yield form.last(k * n + event.index, finishReason(event), event.stateId);
      }
      if (includeUsage) yield form.usage(this.#usage);
    } catch (error) {
      yield error instanceof ApiError ? error.body : new ApiError(500, 'something went wrong in the server').body;
    } finally {
      this.cancel();
    }
    yield '[DONE]';
  }
}

function addTo(
  choice: Choice,
  { text, tokens }: { readonly text: string; readonly tokens: readonly Choice['tokens'][number][] },
): void {
  choice.text += text;
  choice.tokens.push(...tokens);
}
