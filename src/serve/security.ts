/** @file Who may ask: a key, and the names by which a server on localhost may be called. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { ApiError } from './errors.js';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Refuses requests without the key. The comparison takes the same time whatever was sent. */
export function keyGuard(key: string | null): MiddlewareHandler {
  const wanted = key === null ? null : digest(key);
  return async (c, next) => {
    if (wanted !== null) {
      const sent = /^Bearer +(.+)$/i.exec(c.req.header('Authorization') ?? '')?.[1] ?? '';
      if (!timingSafeEqual(digest(sent), wanted)) {
        throw new ApiError(
          401,
          'the API key is missing or wrong; send it as "Authorization: Bearer ..."',
          null,
          'invalid_api_key',
        );
      }
    }
    await next();
  };
}

/**
 * Refuses requests whose Host is another name than those given: a page of the web could otherwise have its own name resolve
 * to this machine and then read what a server on localhost answers (DNS rebinding).
 */
export function hostGuard(hosts: readonly string[] | null): MiddlewareHandler {
  return async (c, next) => {
    if (hosts !== null) {
      const name = (c.req.header('Host') ?? '').replace(/:\d+$/, '').toLowerCase();
      if (!hosts.includes(name)) throw new ApiError(403, 'the server does not go by this name (Host header)');
    }
    await next();
  };
}

/** Whether an address is of this machine alone. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);
