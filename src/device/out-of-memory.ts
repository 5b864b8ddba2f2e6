/** @file The error of a device whose memory is exhausted, and what lets those who know what the memory was for say so. */

export class OutOfMemoryError extends Error {
  override readonly name = 'OutOfMemoryError';
  /** Bytes of buffers held when more was asked for, where the device tells. */
  held?: number;
}

/** A buffer that a device allows nobody to make, however much memory is free. */
export class BufferLimitError extends RangeError {
  override readonly name = 'BufferLimitError';
  /** As the device calls it (maxStorageBufferBindingSize). */
  readonly limit: string;
  /** Bytes that were asked for, and the most that the device allows. */
  readonly bytes: number;
  readonly most: number;

  constructor(message: string, limit: string, bytes: number, most: number) {
    super(message);
    this.limit = limit;
    this.bytes = bytes;
    this.most = most;
  }
}

/** Whether there was no room for a buffer. */
export const isNoRoom = (error: unknown): boolean =>
  error instanceof OutOfMemoryError || error instanceof BufferLimitError;

/** The same error, whatever its kind, with what the memory was for before its message. */
export function namingWhat(what: string, error: unknown): unknown {
  if (error instanceof Error) error.message = `${what}: ${error.message}`;
  return error;
}
