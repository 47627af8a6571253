"""The style sheet of reports: system fonts, a palette that the color-blind can tell apart, dark mode."""

STYLE = """
:root {
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2430; --soft: #5b6675; --faint: #8a94a3;
  --rule: #e6e9ee; --axis: #b4bcc8; --band: #eef3fb;
  --c0: #2563c9; --c1: #d9730d; --c2: #138a63; --c3: #a23b9c; --good: #0f7b4f; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --ink: #e8ecf2; --soft: #a7b1bf; --faint: #7d8897;
    --rule: #2a323d; --axis: #4b5665; --band: #202a38;
    --c0: #6ea8ff; --c1: #ffa657; --c2: #4fcf9c; --c3: #e08bdc; --good: #4fcf9c; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 40px 24px 64px; }
header h1 { margin: 0; font-size: 30px; letter-spacing: -0.02em; font-weight: 650; }
header p { margin: 6px 0 28px; color: var(--soft); max-width: 78ch; }
h2 { margin: 0; font-size: 17px; font-weight: 620; letter-spacing: -0.01em; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: 14px; }
.tile, figure, .figures, details {
  background: var(--card); border: 1px solid var(--rule); border-radius: 12px;
}
.tile { padding: 14px 16px; display: flex; flex-direction: column; }
.tile span { color: var(--soft); font-size: 13px; }
.tile strong {
  font-size: 25px; font-weight: 630; letter-spacing: -0.02em; font-variant-numeric: tabular-nums;
}
.tile small { color: var(--faint); font-size: 12.5px; }
.tile.good small { color: var(--good); }
.tile.bad small { color: var(--bad); }
.plots {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr));
  gap: 18px; margin: 18px 0;
}
figure { margin: 0; padding: 18px 18px 12px; display: flex; flex-direction: column; }
figcaption p { margin: 2px 0 8px; color: var(--soft); font-size: 14px; }
figure svg { width: 100%; height: auto; display: block; margin-top: auto; }
.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 6px; padding: 0;
  font-size: 13px; color: var(--soft); min-height: 1.5em;
}
.legend i {
  display: inline-block; width: 18px; height: 3px; border-radius: 2px; margin-right: 7px;
  vertical-align: middle;
}
.legend .c0 { background: var(--c0); } .legend .c1 { background: var(--c1); }
.legend .c2 { background: var(--c2); } .legend .c3 { background: var(--c3); }
svg text { fill: var(--soft); font-size: 12.5px; font-family: inherit; }
svg .tick { font-variant-numeric: tabular-nums; }
svg .label { fill: var(--faint); }
svg .note { fill: var(--faint); font-size: 12px; }
svg .strong { fill: var(--ink); }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--axis); stroke-width: 1; }
.band { fill: var(--band); }
.level { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 2 4; }
.mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 4 3; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.dashed { stroke-dasharray: 5 5; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); }
.line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.bar.c0 { fill: var(--c0); } .bar.c1 { fill: var(--c1); }
.bar.c2 { fill: var(--c2); } .bar.c3 { fill: var(--c3); }
.point { fill: transparent; }
.point:hover { fill-opacity: 0.9; r: 4px; }
.point.c0:hover { fill: var(--c0); } .point.c1:hover { fill: var(--c1); }
.point.c2:hover { fill: var(--c2); } .point.c3:hover { fill: var(--c3); }
.figures { padding: 18px; }
.figures table { width: 100%; border-collapse: collapse; margin-top: 8px; columns: 2; }
.figures tbody { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); column-gap: 40px; }
.figures tr { display: flex; justify-content: space-between; border-bottom: 1px solid var(--rule); padding: 5px 0; }
.figures th { font-weight: 400; color: var(--soft); font-size: 14px; text-align: left; }
.figures td { font-variant-numeric: tabular-nums; font-size: 14px; }
details { margin-top: 14px; padding: 12px 18px; }
summary { cursor: pointer; font-weight: 600; font-size: 15px; }
pre { overflow-x: auto; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
"""
