/** @file How the command writes numbers and text for people. The formatting itself stands in `../format.ts`, which the library may use too. */
export { formatBytes, formatCount, formatDuration, formatNumber, printable } from '../format.js';
