/** @file The error of a device whose memory is exhausted, and what lets those who know what the memory was for say so. */

export class OutOfMemoryError extends Error {
  override readonly name = 'OutOfMemoryError';
  /** Bytes of buffers held when more was asked for, where the device tells. */
  held?: number;
}

/** The same error, whatever its kind, with what the memory was for before its message. */
export function namingWhat(what: string, error: unknown): unknown {
  if (error instanceof Error) error.message = `${what}: ${error.message}`;
  return error;
}
