/** @file A running server: the model's thread, the HTTP server before it, and their end in order. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { serve as serveHttp } from '@hono/node-server';
import { createApp, type AppOptions, type Service } from './app.js';
import { Metrics } from './metrics.js';
import { ModelHost } from './model-host.js';
import type { ModelOptions, ServedModel } from './protocol.js';
import { isLoopback } from './security.js';

export interface ServerOptions {
  readonly model: ModelOptions;
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
  readonly apiKey: string | null;
  readonly corsOrigin: readonly string[];
  readonly maxBodyBytes: number;
  /** Requests that may wait behind those that are decoded. */
  readonly maxQueue: number;
  readonly maxSeconds: number;
  /** Seconds that running requests get when the server ends. */
  readonly drainSeconds: number;
  readonly log: ((line: string) => void) | null;
  /** Told when the model's thread dies; the server can then only be ended. */
  readonly onDeath?: (error: Error) => void;
}

export interface RunningServer {
  readonly url: string;
  readonly model: ServedModel;
  /** Refuses new requests, lets those that run end within `drainSeconds`, then ends. */
  close(): Promise<void>;
}

/** A client that sends its request more slowly is cut off. */
const HEADERS_SECONDS = 20;
const REQUEST_SECONDS = 120;

/**
 * Opens the model and listens.
 * @throws Error when the model cannot be opened, or the address is taken.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const host = await ModelHost.open(options.model);
  const service: Service = { host, metrics: new Metrics(), draining: false };
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const appOptions: AppOptions = {
    apiKey: options.apiKey,
    corsOrigin: options.corsOrigin,
    hosts: isLoopback(options.host) ? ['localhost', '127.0.0.1', '[::1]', options.host.toLowerCase()] : null,
    maxBodyBytes: options.maxBodyBytes,
    maxRequests: options.model.maxBatch + options.maxQueue,
    maxSeconds: options.maxSeconds,
    log: options.log,
    eventLoopDelay: () => {
      const longest = delay.max / 1e9;
      delay.reset();
      return longest;
    },
  };
  const app = createApp(service, appOptions);
  host.onDeath = (error) => options.onDeath?.(error);
  const { server, address } = await listen(app.fetch, options);
  server.headersTimeout = HEADERS_SECONDS * 1000;
  server.requestTimeout = REQUEST_SECONDS * 1000;
  const name = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${name}:${address.port}`,
    model: host.model,
    async close() {
      service.draining = true;
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      const until = performance.now() + options.drainSeconds * 1000;
      while (host.jobs > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
      await host.close();
      setTimeout(() => server.closeAllConnections(), 500).unref();
      await closed;
      delay.disable();
    },
  };
}

function listen(
  fetch: ReturnType<typeof createApp>['fetch'],
  { host: hostname, port }: ServerOptions,
): Promise<{ server: Server; address: AddressInfo }> {
  return new Promise((resolve, reject) => {
    const server = serveHttp({ fetch, hostname, port }, (address) => resolve({ server, address })) as Server;
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE' ? `; something listens there already, take another with --port` : '';
      reject(new Error(`serve: cannot listen on ${hostname}:${port} (${error.code})${taken}`));
    });
  });
}
