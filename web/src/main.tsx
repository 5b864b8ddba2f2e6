/** @file Puts the page on the screen. */
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { App } from './app.js';
import { openPage } from './state.js';

/** A file that is dropped beside the place for it would be shown instead of the page, and end what runs in it. */
function refuseFile(event: DragEvent): void {
  const { dataTransfer } = event;
  if (event.defaultPrevented || dataTransfer?.types.includes('Files') !== true) return;
  event.preventDefault();
  dataTransfer.dropEffect = 'none';
}

addEventListener('dragover', refuseFile);
addEventListener('drop', refuseFile);
void openPage();
// In a task of its own, as reading the scripts was one: no task is to be long.
setTimeout(() => render(<App />, document.querySelector('#app')!));
