/** @file Puts the page on the screen. */
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { App } from './app.js';
import { openPage } from './state.js';

render(<App />, document.querySelector('#app')!);
void openPage();
