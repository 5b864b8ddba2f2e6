/** @file What the page says, and what to do, where no GPU opens: from the start, or after a loss. */
import { useState } from 'preact/hooks';
import { formatBytes } from '../../../../src/format.js';
import type { DeviceFault } from '../../protocol.js';
import { reopen, usePage } from '../../state.js';
import { Save } from './save-model.js';

const HEADINGS: Readonly<Record<DeviceFault, string>> = {
  insecure: 'This page is not in a secure context, so the browser gives it no GPU',
  missing: 'This browser has no WebGPU',
  adapter: 'This browser has WebGPU, but finds no GPU for it',
  other: 'The GPU could not be opened',
};

/** In place of a view, where no GPU opened. */
export function NoDevice({ fault, message }: { fault: DeviceFault; message: string }) {
  const { kept } = usePage();
  return (
    <section class="card nodevice" role="alert">
      <h2>{HEADINGS[fault]}</h2>
      <p>The playground trains on your own GPU through WebGPU; nothing is sent anywhere. What to do:</p>
      <ul>
        {fault === 'adapter' && (
          <li>
            If it worked before, the browser may have taken the GPU away after it crashed: wait two minutes and reload
            the page, or restart the browser.
          </li>
        )}
        {fault === 'insecure' && <li>Open it by https, or on this machine as localhost.</li>}
        <li>Use Chrome or Edge from version 113 on, Safari from 26 on, or Firefox from 141 on, and update it.</li>
        <li>
          On Linux, Chrome may ask for <code>chrome://flags/#enable-unsafe-webgpu</code>; install the Vulkan driver of
          your GPU.
        </li>
        <li>
          See whether <code>chrome://gpu</code> lists WebGPU as hardware accelerated, and whether acceleration is on in
          the settings.
        </li>
        <li>
          Or train with the command: <code>npx xlstm train book.txt</code> needs no GPU.
        </li>
      </ul>
      {fault === 'other' && <p class="detail">{message}</p>}
      {kept.bytes !== null && (
        <>
          <p>The model that was trained or opened here is still kept in this browser ({formatBytes(kept.bytes)}):</p>
          <Save />
        </>
      )}
    </section>
  );
}

/** Above the view, where the GPU was there before. */
export function LostDevice({ message }: { message: string }) {
  const { model } = usePage();
  const [isTrying, setTrying] = useState(false);
  const tryAgain = async (): Promise<void> => {
    setTrying(true);
    await reopen();
    setTrying(false);
  };
  const step = model?.training?.step;
  return (
    <section class="card lost" role="alert">
      <h2>{message}</h2>
      <p>
        {model !== null && step !== undefined && `The model is still here, as it was after step ${step}. `}
        Browsers take the GPU from a page that lost it twice within a short time. What to do:
      </p>
      <ul>
        <li>Wait two minutes, and try again: training then goes on.</li>
        <li>Or reload the page; if that does not help, restart the browser. What is kept in it is there again.</li>
        <li>
          {model !== null && (
            <>
              To be safe, <a href="#models">save the model</a> first; that needs no GPU.{' '}
            </>
          )}
          Where it happens again, choose a smaller batch, context or width.
        </li>
      </ul>
      <div class="actions row">
        <button type="button" class="primary" disabled={isTrying} onClick={() => void tryAgain()}>
          {isTrying ? 'Trying…' : 'Try again'}
        </button>
      </div>
    </section>
  );
}
