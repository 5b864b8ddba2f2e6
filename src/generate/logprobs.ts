/** @file Log-probabilities of tokens: the model's own, before temperature, penalties and filters. */
import type { FloatArray } from '../device/device.js';
import { exponentials } from './exponentials.js';
import { largestLogit } from './largest-logit.js';
import { cutAfterLargest } from './select.js';

export interface TokenLogprob {
  readonly token: number;
  /** In nats. */
  readonly logprob: number;
}

let scratch = new Float64Array(0);

/** log(sum(exp(logits))), without overflow. @param top  the largest logit, finite */
function logSumExp(logits: Float64Array, top: number): number {
  if (scratch.length < logits.length) scratch = new Float64Array(logits.length);
  return top + Math.log(exponentials(scratch, logits, logits.length, top, 1));
}

/**
 * log-softmax at one token and at the most probable ones.
 * @param logits  [V]
 * @param top     the largest of them, finite
 * @param count   how many of the most probable ones, most probable first; of equals the first
 */
export function logprobsOf(
  logits: Float64Array,
  top: number,
  token: number,
  count: number,
): { readonly logprob: number; readonly top: readonly TokenLogprob[] } {
  const base = logSumExp(logits, top);
  const at = (id: number): TokenLogprob => ({ token: id, logprob: logits[id]! - base });
  return { logprob: at(token).logprob, top: largest(logits, Math.min(count, logits.length)).map(at) };
}

/**
 * log-softmax at a token that was given, not sampled, and at the most probable ones.
 * @param logits  [V]
 * @throws DivergedError when a logit is not a number, or none is finite.
 */
export function givenLogprobs(
  logits: FloatArray,
  token: number,
  count: number,
): { readonly token: number; readonly logprob: number; readonly top: readonly TokenLogprob[] } {
  const exact = Float64Array.from(logits);
  return { token, ...logprobsOf(exact, exact[largestLogit(exact)]!, token, count) };
}

function largest(logits: Float64Array, count: number): number[] {
  if (count === 0) return [];
  const V = logits.length;
  const { value, rest } = count < V ? cutAfterLargest(logits, V, count) : { value: -Infinity, rest: V };
  const ids: number[] = [];
  let equals = rest;
  for (let id = 0; id < V; id++) {
    if (logits[id]! > value || (logits[id] === value && equals-- > 0)) ids.push(id);
  }
  return ids.sort((a, b) => logits[b]! - logits[a]! || a - b);
}
