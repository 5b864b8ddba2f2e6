/** @file The routes of the server: who may ask, what is asked, which answer. What a completion is, `generation.ts` knows. */
import fs from 'node:fs';
import { Readable } from 'node:stream';
import type { HttpBindings } from '@hono/node-server';
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { ApiError } from './errors.js';
import { Generation } from './generation.js';
import type { Gauge, Metrics } from './metrics.js';
import type { ModelHost } from './model-host.js';
import type { StateInfo } from './protocol.js';
import { readChat, readCompletion, readKeepState } from './requests.js';
import { hostGuard, keyGuard } from './security.js';

export interface AppOptions {
  readonly apiKey: string | null;
  readonly corsOrigin: readonly string[];
  /** Names by which the server may be called; null for any. */
  readonly hosts: readonly string[] | null;
  readonly maxBodyBytes: number;
  /** Requests that may run and wait. */
  readonly maxRequests: number;
  readonly maxSeconds: number;
  /** Told of each answered request; null for none. */
  readonly log: ((line: string) => void) | null;
  /** The longest time that the event loop was held up since the last call, in seconds. */
  readonly eventLoopDelay: () => number;
}

export type Bindings = { Bindings: HttpBindings };

/** What the routes share with the server around them. */
export interface Service {
  readonly host: ModelHost;
  readonly metrics: Metrics;
  /** Set while the server ends: new completions are refused. */
  draining: boolean;
}

const STARTED = Math.floor(Date.now() / 1000);

export function createApp(service: Service, options: AppOptions): Hono<Bindings> {
  const app = new Hono<Bindings>();
  const { host, metrics } = service;
  const generation = new Generation(service, options);

  app.use(async (c, next) => {
    const begun = performance.now();
    await next();
    const { status } = c.res;
    metrics.request(
      c.req.routePath === '*' || c.req.routePath === '/*' ? 'other' : `${c.req.method} ${c.req.routePath}`,
      status,
    );
    c.header('X-Content-Type-Options', 'nosniff');
    c.header('Cache-Control', 'no-store');
    const path = c.req.path.slice(0, 200);
    options.log?.(`${c.req.method} ${path} ${status} ${(performance.now() - begun).toFixed(0)} ms`);
  });
  app.use(hostGuard(options.hosts));
  if (options.corsOrigin.length > 0) app.use(cors({ origin: [...options.corsOrigin] }));

  app.get('/health', (c) => c.json({ status: service.draining ? 'draining' : 'ok' }, service.draining ? 503 : 200));
  app.use(keyGuard(options.apiKey));
  app.use(
    bodyLimit({
      maxSize: options.maxBodyBytes,
      onError: () => {
        throw new ApiError(413, `the body is larger than ${options.maxBodyBytes} bytes`, null, 'body_too_large');
      },
    }),
  );
  app.get('/metrics', async (c) => c.text(metrics.text(await gauges(service, options))));

  const model = { id: host.model.name, object: 'model', created: STARTED, owned_by: 'xlstm' };
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [model] }));
  app.get('/v1/models/:id{.+}', (c) => {
    if (c.req.param('id') === model.id) return c.json(model);
    throw new ApiError(404, 'there is no model of this name', 'model', 'model_not_found');
  });
  app.post('/v1/completions', async (c) => generation.answer(c, 'completion', readCompletion(await bodyOf(c))));
  app.post('/v1/chat/completions', async (c) => generation.answer(c, 'chat', readChat(await bodyOf(c))));
  addStates(app, service, generation);

  app.notFound((c) => {
    const known = app.routes.some(({ method, path }) => method !== 'ALL' && path === c.req.path);
    const error = known
      ? new ApiError(405, `${c.req.method} is not for this address`)
      : new ApiError(404, 'there is nothing at this address');
    return c.json(error.body, error.status as 404);
  });
  app.onError((error, c) => {
    const known = error instanceof ApiError ? error : new ApiError(500, 'something went wrong in the server');
    const left = (error as NodeJS.ErrnoException).code === 'ECONNRESET'; // while it sent its request
    if (!(error instanceof ApiError) && !left) process.stderr.write(`xlstm: ${error.stack ?? error.message}\n`);
    if (known.status === 429) c.header('Retry-After', '1');
    return c.json(known.body, known.status as 500);
  });
  return app;
}

/** The body as JSON. @throws ApiError when it is none. */
async function bodyOf(c: Context<Bindings>): Promise<unknown> {
  const text = await c.req.text();
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ApiError(400, 'the body is not JSON', null, 'not_json');
  }
}

const stateBody = ({ id, created, tokens, bytes }: StateInfo) => ({ id, object: 'state', created, tokens, bytes });

/** Kept states. Their ids are only looked up in a table: none ever becomes a path. */
function addStates(app: Hono<Bindings>, { host }: Service, generation: Generation): void {
  app.get('/v1/states', async (c) => {
    const states = await host.ask<StateInfo[]>({ kind: 'listStates' });
    return c.json({ object: 'list', data: states.map(stateBody) });
  });
  app.post('/v1/states', async (c) => {
    const { prompt, from } = readKeepState(await bodyOf(c));
    const state = await generation.counted(1, () => host.ask<StateInfo>({ kind: 'keepState', prompt, from }));
    return c.json(stateBody(state), 201);
  });
  app.get('/v1/states/:id', async (c) => {
    const id = c.req.param('id');
    if (c.req.query('download') === undefined) {
      return c.json(stateBody(await host.ask<StateInfo>({ kind: 'getState', id })));
    }
    const file = await host.ask<string>({ kind: 'exportState', id });
    const { size } = fs.statSync(file);
    const stream = fs.createReadStream(file);
    stream.on('close', () => fs.rmSync(file, { force: true }));
    c.header('Content-Type', 'application/octet-stream');
    c.header('Content-Length', String(size));
    c.header('Content-Disposition', 'attachment; filename="xlstm.state"');
    return c.body(Readable.toWeb(stream) as ReadableStream);
  });
  app.delete('/v1/states/:id', async (c) => {
    const id = c.req.param('id');
    await host.ask({ kind: 'deleteState', id });
    return c.json({ id, object: 'state', deleted: true });
  });
}

async function gauges({ host }: Service, { eventLoopDelay }: AppOptions): Promise<Gauge[]> {
  const stats = await host.stats();
  return [
    ['xlstm_requests_running', 'Completions that run or wait.', 'gauge', host.jobs],
    ['xlstm_requests_waiting', 'Completions whose prompt waits.', 'gauge', stats.waiting],
    ['xlstm_sequences_decoding', 'Sequences in the batch.', 'gauge', stats.decoding],
    ['xlstm_tokens_prefilled_total', 'Tokens of prompts that were read.', 'counter', stats.prefilled],
    ['xlstm_tokens_reused_total', 'Tokens of prompts that a kept state spared.', 'counter', stats.reused],
    ['xlstm_tokens_generated_total', 'Tokens that were generated.', 'counter', stats.generated],
    ['xlstm_state_cache_hits_total', 'Prompts that went on from a state.', 'counter', stats.cacheHits],
    ['xlstm_state_cache_misses_total', 'Prompts that were read from the beginning.', 'counter', stats.cacheMisses],
    ['xlstm_state_cache_states', 'States kept for reuse.', 'gauge', stats.cacheStates],
    ['xlstm_state_cache_bytes', 'Bytes of them in memory.', 'gauge', stats.cacheBytes],
    ['xlstm_state_cache_disk_bytes', 'Bytes of them on disk.', 'gauge', stats.cacheDiskBytes],
    ['xlstm_kept_states', 'States that clients keep by id.', 'gauge', stats.keptStates],
    [
      'xlstm_event_loop_delay_max_seconds',
      'Longest hold-up of the HTTP thread since the last look.',
      'gauge',
      eventLoopDelay(),
    ],
  ];
}
