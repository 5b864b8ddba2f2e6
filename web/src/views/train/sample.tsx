/** @file What the model writes by itself while it is trained. */
import { printable } from '../../../../src/format.js';
import { usePage } from '../../state.js';
import { grouped } from '../parts/grouped.js';

export function Sample() {
  const { sample, phase } = usePage();
  return (
    <section class="card sample" aria-label="Sample">
      <div class="head">
        <h2>Sample</h2>
        <p class="detail">{sample === null ? '' : `at step ${grouped(sample.step)}`}</p>
      </div>
      {sample === null ? (
        <p class="hint">
          {phase === 'training'
            ? 'The first one comes in a moment.'
            : 'While a model is trained, what it writes shows here every few seconds.'}
        </p>
      ) : (
        <p class="text">{printable(sample.text).trimStart()}</p>
      )}
    </section>
  );
}
