/** @file The error of a device whose memory is exhausted, so that who knows what the memory was for can say so. */

export class OutOfMemoryError extends Error {
  override readonly name = 'OutOfMemoryError';
  /** Bytes of buffers held when more was asked for; unknown where a kernel asked, for itself. */
  held?: number;
}
