/** @file Requests about text: continue a prompt, streaming, and stop. */
import type { Handlers } from './context.js';
import { continueText } from './text.js';

export const generateHandlers: Handlers<'generate' | 'stopGenerating'> = {
  async generate({ settings }, context) {
    const { held } = context;
    if (held === null) throw new Error('There is no model yet: train one, or open one under Models.');
    context.stopGenerating?.abort();
    await context.generating;
    const abort = new AbortController();
    context.stopGenerating = abort;
    const started = performance.now();
    const onText = (text: string): void => context.emit({ kind: 'text', text });
    const work = continueText(held.model, held.tokenizer, { ...settings, signal: abort.signal, onText });
    context.generating = work.catch(() => undefined);
    const tokens = await work;
    return { tokens, seconds: (performance.now() - started) / 1000 };
  },

  async stopGenerating(_, context) {
    context.stopGenerating?.abort();
    await context.generating;
    return null;
  },
};
