/** @file A session as a file: where the reading of a text is, to go on from later. What the file holds, `state-file.ts` says. */
import type { LanguageModel } from '../model/language-model.js';
import { loadState, saveState } from '../model/state-file.js';
import { Session } from './decode.js';

/** Writes where a session is. @throws RangeError when the model has diverged, WriteError from the disk. */
export async function saveSession(file: string, session: Session): Promise<void> {
  const { state, tokens, logits } = session.snapshot();
  try {
    await saveState(file, state, { model: session.model, tokens, logits });
  } finally {
    state.dispose();
  }
}

/** Goes on where `saveSession` was. @throws Error for a file that is no state of this model or of more than one sequence. */
export async function loadSession(file: string, model: LanguageModel): Promise<Session> {
  return new Session(model, await loadState(file, model));
}
