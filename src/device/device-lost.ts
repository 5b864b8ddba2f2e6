/** @file The error of a device that is gone, with all that was on it: a GPU whose driver was reset, or that was ended. */

export class DeviceLostError extends Error {
  override readonly name = 'DeviceLostError';
  /** "destroyed" where a program ended it; "unknown" for everything else. */
  readonly reason: string;

  constructor(message: string, reason: string) {
    super(message);
    this.reason = reason;
  }
}
