/**
 * @file What the model store needs of a browser's private file system (OPFS): the part of its interface that is used, and
 * its errors as sentences.
 */
import { formatBytes } from '../format.js';

/** FileSystemDirectoryHandle, as far as it is used here. */
export interface StoreDirectory {
  readonly kind: 'directory';
  entries(): AsyncIterable<[string, StoreDirectory | StoreFile]>;
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<StoreDirectory>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<StoreFile>;
  removeEntry(name: string, options?: { recursive?: boolean }): Promise<void>;
}

/** FileSystemFileHandle. */
export interface StoreFile {
  readonly kind: 'file';
  getFile(): Promise<Blob>;
  /** What is written takes the place of the old content when the stream is closed, not before. */
  createWritable(): Promise<WritableStream<Uint8Array>>;
}

/** Bytes that the page uses of those that the browser gives it. */
export interface StorageEstimate {
  readonly usage?: number;
  readonly quota?: number;
}

/** The browser's storage, as far as it is used here. */
export interface PageStorage {
  getDirectory(): Promise<StoreDirectory>;
  estimate(): Promise<StorageEstimate>;
  persist?(): Promise<boolean>;
}

/** Something is wrong with the browser's storage, or with a name in it. */
export class StorageError extends Error {
  override name = 'StorageError';
}

/** There is not enough room. What was stored before is still there. */
export class StorageFullError extends StorageError {
  override readonly name = 'StorageFullError';
  /** Bytes to be stored; null where the size was not known beforehand. */
  readonly needed: number | null;
  /** Bytes that were free; null where the browser does not say, or says what cannot be: some tell every page the same. */
  readonly available: number | null;

  constructor(what: string, needed: number | null, available: number | null, options?: ErrorOptions) {
    const size = needed === null ? 'more room than there is' : formatBytes(needed);
    const free =
      available === null ? 'which is more than the browser gives this page' : `and ${formatBytes(available)} are free`;
    super(
      `${what} needs ${size}${needed === null && available === null ? '' : `, ${free}`}; remove a stored model, free space on ` +
        'the disk, or download it as a folder instead. What was stored before is still there.',
      options,
    );
    this.needed = needed;
    this.available = available;
  }
}

/** Whether the browser refused to write because the page's share, or the disk, is full. */
export const isQuotaError = (error: unknown): boolean =>
  (error as { name?: string } | null)?.name === 'QuotaExceededError';

/** Whether there is no file or folder of that name. */
export const isNotFound = (error: unknown): boolean => (error as { name?: string } | null)?.name === 'NotFoundError';
