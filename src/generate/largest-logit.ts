/** @file The largest logit, and whether the model still gives any: all that is made of logits begins here. */

/** The model gives no finite logit, or one that is not a number: its parameters or state are beyond all bounds. */
export class DivergedError extends Error {
  override readonly name = 'DivergedError';
}

/** The first of the largest. @throws DivergedError when one is not a number, or none is finite. */
export function largestLogit(logits: Float64Array): number {
  let best = -1;
  let top = -Infinity;
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token]!;
    if (logit <= top) continue; // false for NaN
    if (Number.isNaN(logit))
      throw new DivergedError(`sampling: the logit of token ${token} is NaN; the model has diverged`);
    best = token;
    top = logit;
  }
  if (!Number.isFinite(top)) throw new DivergedError('sampling: no logit is finite; the model has diverged');
  return best;
}
