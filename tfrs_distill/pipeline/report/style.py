"""The page's style: no font, script or picture from elsewhere; light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --soft: #5b6470; --line: #dfe3e8;
  --teacher: #2f5fc4; --student: #0b8a6f; --twin: #c2600f; --other: #7a828c;
  --good: #0b8a6f; --neutral: #8a6d00; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1c2026; --ink: #e8eaed; --soft: #a0a8b3; --line: #323841;
    --teacher: #8ab0ff; --student: #3ecfae; --twin: #f2a65a; --other: #98a1ac;
    --good: #3ecfae; --neutral: #e0bd4a; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 15px; font-weight: 600; margin: 0 0 4px; letter-spacing: .01em; }
h2 { font-size: 19px; font-weight: 650; margin: 52px 0 4px; letter-spacing: -.01em; }
h3 { font-size: 15px; font-weight: 650; margin: 0 0 2px; }
p { margin: 0 0 12px; }
.meta, .note { color: var(--soft); font-size: 14px; }
.verdict { margin: 26px 0 30px; padding: 2px 0 2px 20px; border-left: 4px solid var(--neutral); }
.verdict p { margin: 6px 0 0; font-size: 23px; line-height: 1.4; letter-spacing: -.012em;
  text-wrap: pretty; }
.verdict strong { font-weight: 650; color: var(--neutral); }
.verdict.helped { border-color: var(--good); } .helped strong { color: var(--good); }
.verdict.hurt { border-color: var(--bad); } .hurt strong { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 0; }
.tiles div { background: var(--panel); border-radius: 10px; padding: 14px 16px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; font-size: 26px; font-weight: 620; letter-spacing: -.02em;
  line-height: 1.3; }
.tiles dd + dd { font-size: 13px; font-weight: 400; letter-spacing: 0; color: var(--soft); }
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 8px 9px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; font-size: 13px; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.models th:first-child, .models td:first-child { position: sticky; left: 0; font-weight: 500;
  background: var(--paper); }
.models td:first-child small { display: block; color: var(--soft); font-weight: 400;
  font-size: 12.5px; }
.models tr.student td { font-weight: 650; }
.models .forest-cell { text-align: left; padding-right: 4px; }
.models th.forest-cell { padding-left: 15px; }
.models td:last-child, .models th:last-child { padding-right: 0; }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 36px; margin-top: 16px; }
figure { margin: 0; min-width: 0; }
.meta.small { font-size: 13px; margin: 2px 0 0; }
.chart { width: 100%; height: auto; display: block; margin-top: 8px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 0; margin: 2px 0 0;
  list-style: none; font-size: 13px; color: var(--soft); }
.legend b { color: var(--ink); font-weight: 600; }
.legend svg { width: 22px; height: 10px; margin-right: 6px; vertical-align: 0; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif;
  fill: var(--soft); }
svg text.end { text-anchor: end; } svg text.middle { text-anchor: middle; }
svg text.label { font-weight: 600; fill: var(--c); paint-order: stroke;
  stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
.teacher { --c: var(--teacher); } .student { --c: var(--student); } .twin { --c: var(--twin); }
.ease, .popularity, .other { --c: var(--other); }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.twin .line { stroke-dasharray: 6 3; } .teacher .line { stroke-dasharray: 1.5 3.5;
  stroke-linecap: round; stroke-width: 2.5; }
.dot { fill: var(--c); stroke: var(--paper); stroke-width: 1.5; }
.variant .dot { fill: var(--paper); stroke: var(--c); stroke-width: 2; }
.hover { fill: transparent; } .hover:hover { fill: var(--c); }
.whisker { stroke: var(--c); stroke-width: 2; stroke-opacity: .55; stroke-linecap: round; }
.level { stroke: var(--c); stroke-dasharray: 4 4; }
.forest { vertical-align: -4px; } .rail { stroke: var(--line); }
.facts { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 48px; margin-top: 12px; }
.facts table { margin-top: 6px; } .facts > div { margin-bottom: 20px; min-width: 0; }
.facts td { padding: 5px 0 5px 12px; } .facts td:first-child { padding-left: 0; }
.facts td:nth-child(2) { overflow-wrap: anywhere;
  white-space: normal; }
.stages td:first-child { width: 26%; } .stages td:last-child { width: 46%; }
.stages td:nth-child(2) { white-space: nowrap; }
.stages i { display: block; height: 9px; min-width: 2px; border-radius: 3px;
  background: var(--teacher); opacity: .75; }
details { margin-top: 8px; } summary { cursor: pointer; font-weight: 600; font-size: 15px; }
pre { background: var(--panel); border-radius: 10px; padding: 14px 16px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 860px) {
  .charts, .facts { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: 1fr 1fr; }
}
@media (max-width: 520px) {
  main { padding: 24px 16px 48px; } .verdict p { font-size: 19px; } .verdict { padding-left: 14px; }
  .tiles dd { font-size: 22px; } .tiles div { padding: 10px 12px; }
  svg.chart text { font-size: 15px; }
  .models td:first-child { white-space: normal; min-width: 96px; }
  .models td:first-child small { display: none; }
}
@media print { .scroll { overflow: visible; } table { font-size: 11px; } th, td { padding: 5px; } }
"""
