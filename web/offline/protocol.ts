/** @file What the page and its worker say to each other. */
import type { OfflineModel } from '../../src/generate/offline-page.js';

export interface Knobs {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  readonly maxTokens: number;
}

/** To the worker. The weights come as base64 in parts, in order, behind `open`. */
export type Request =
  | { readonly kind: 'open'; readonly model: OfflineModel }
  | { readonly kind: 'weights'; readonly base64: string }
  | { readonly kind: 'generate'; readonly prompt: string; readonly knobs: Knobs }
  | { readonly kind: 'stop' };

/** From the worker. */
export type Reply =
  /** The next part of the weights may come. */
  | { readonly kind: 'loading'; readonly share: number }
  /** `warning` says why it will be slow; empty on a GPU. */
  | { readonly kind: 'ready'; readonly device: string; readonly warning: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'done'; readonly tokens: number; readonly seconds: number; readonly stopped: boolean }
  /** `isFinal`: nothing more can be done on this page. */
  | { readonly kind: 'failed'; readonly message: string; readonly isFinal: boolean };
