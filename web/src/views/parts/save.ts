/** @file Takes a model out of the page: into a folder where the browser can, else as an archive. */
import type { NamedBlob } from '../../protocol.js';

interface Saved {
  readonly name: string;
  readonly files: readonly NamedBlob[];
}
type Fetch = () => Promise<Saved | null>;

/** The part of the File System Access API that types of pages lack. */
interface Picker {
  showDirectoryPicker?(options: { mode: 'readwrite'; id: string }): Promise<FileSystemDirectoryHandle>;
}

export const canSaveFolder = (): boolean => (globalThis as Picker).showDirectoryPicker !== undefined;

/**
 * Asks where to, and writes a new folder there.
 * @returns what was done, in a sentence; null when nothing was
 */
export async function saveFolder(fetch: Fetch): Promise<string | null> {
  let parent: FileSystemDirectoryHandle;
  try {
    parent = await (globalThis as Picker).showDirectoryPicker!({ mode: 'readwrite', id: 'xlstm-models' });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return null; // nothing was chosen
    throw error;
  }
  const saved = await fetch();
  if (saved === null) return null;
  const folder = await parent.getDirectoryHandle(saved.name, { create: true });
  for (const { name, blob } of saved.files) {
    const file = await folder.getFileHandle(name, { create: true });
    await blob.stream().pipeTo(await file.createWritable());
  }
  return `Saved as ${saved.name}.`;
}

/** Downloads one archive. @returns what was done, in a sentence; null when nothing was */
export async function downloadZip(fetch: Fetch): Promise<string | null> {
  const file = (await fetch())?.files[0];
  if (file === undefined) return null;
  const url = URL.createObjectURL(file.blob);
  const link = Object.assign(document.createElement('a'), { href: url, download: file.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the download has begun by then
  return `Downloaded ${file.name}.`;
}
