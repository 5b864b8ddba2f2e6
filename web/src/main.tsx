/** @file Puts the page on the screen. */
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { App } from './app.js';
import { openPage } from './state.js';

void openPage();
// In a task of its own, as reading the scripts was one: no task is to be long.
setTimeout(() => render(<App />, document.querySelector('#app')!));
