/**
 * @file The public API in a page: what needs neither Node nor a native library. `index.ts` exports the same names for Node, with
 * what works on files besides.
 */
export * from './shared-api.js';
export { openDevice, type PageDeviceChoice } from './device/open-page.js';
