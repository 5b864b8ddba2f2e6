/** @file The style sheet of a run's report: light and dark, one column on a phone, two on a desk. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b1f27; --muted: #5c6675; --grid: #e3e7ee; --line: #dfe3ea;
  --series-a: #8fb2e3; --series-b: #1d57b8; --series-c: #d9541b; --accent: #1d57b8; --bar: #c9d8f0; --quote: #f1f4f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151b; --card: #1a1f28; --text: #e6e9ef; --muted: #9aa5b5; --grid: #2b323e; --line: #2b323e;
    --series-a: #44679c; --series-b: #7db0ff; --series-c: #ff9a5c; --accent: #8ab8ff; --bar: #2c4266; --quote: #141921;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 56px; }
h1 { margin: 0; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 36px 0 12px; font-size: 18px; }
h3 { margin: 0; font-size: 14px; font-weight: 600; }
.about { margin: 4px 0 0; color: var(--muted); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px; margin: 22px 0 12px; }
.card, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 14px; }
.tile b { display: block; font-size: 22px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: 13px; display: block; }
.charts { display: grid; grid-template-columns: minmax(0, 1fr); gap: 12px; }
.chart { margin: 0; padding: 14px 14px 8px; }
.chart figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; margin-bottom: 6px; }
.chart .key { color: var(--muted); font-size: 13px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.chart .key i { display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 6px; vertical-align: middle; }
.chart svg { display: block; width: 100%; height: auto; }
.chart .wide { display: none; }
@media (min-width: 480px) { .chart .wide { display: block; } .chart .narrow { display: none; } }
@media (min-width: 720px) {
  .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .chart .wide { display: none; } .chart .narrow { display: block; }
}
@media (min-width: 1000px) { .chart .wide { display: block; } .chart .narrow { display: none; } }
.columns { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 28px; align-items: start; }
@media (min-width: 860px) { .columns { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
.card > table { margin: 4px 0; }
th, td { padding: 6px 14px; text-align: left; vertical-align: top; font-weight: 400; overflow-wrap: anywhere; }
tr + tr > * { border-top: 1px solid var(--line); }
th { color: var(--muted); width: 45%; }
td { font-variant-numeric: tabular-nums; }
th.group { color: var(--text); font-weight: 600; padding-top: 12px; width: auto; }
td.number { text-align: right; white-space: nowrap; }
td.share { width: 30%; vertical-align: middle; }
td.share i { display: block; height: 8px; min-width: 1px; border-radius: 4px; background: var(--bar); }
tr.total > * { font-weight: 600; color: var(--text); }
.parts th { width: auto; color: var(--text); }
.sample { padding: 12px 14px; margin-bottom: 12px; }
.sample h3, summary { color: var(--muted); font-size: 13px; font-weight: 600; }
summary { cursor: pointer; margin-bottom: 12px; }
pre {
  margin: 8px 0 0; padding: 10px 12px; background: var(--quote); border-radius: 6px; unicode-bidi: plaintext;
  font: 13.5px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
pre mark { background: none; color: var(--accent); font-weight: 600; }
.none { color: var(--muted); padding: 14px; margin: 0; }
footer { margin-top: 36px; color: var(--muted); font-size: 13px; }
@media print { body { background: none; } .card, .tile { break-inside: avoid; } }
`;
