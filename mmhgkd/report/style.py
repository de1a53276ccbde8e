"""The style of the report, light and dark, wide and narrow."""

#: Colors by name, in light and in dark. Curves take them, too.
COLORS = {
    'ground': ('#f9f9f7', '#161615'),
    'ink': ('#0b0b0b', '#eeeeea'),
    'muted': ('#52514e', '#b5b4ae'),
    'card': ('#fcfcfb', '#1f1f1e'),
    'line': ('#e1e0d9', '#3a3a37'),
    'head': ('#f0efec', '#2a2a28'),
}
_LIGHT, _DARK = (
    ' '.join(f'--{name}: {pair[mode]};' for name, pair in COLORS.items())
    for mode in (0, 1)
)
STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }}
main {{ max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }}
h1 {{ font-size: 26px; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 18px; margin: 36px 0 12px; }}
.muted {{ color: var(--muted); }}
section > .muted {{ margin: 0 0 12px; }}
section > .card + .muted {{ margin-top: 10px; }}
.grid {{ display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }}
.pictures {{ grid-template-columns:
  repeat(auto-fit, minmax(min(100%, 520px), 1fr)); align-items: start; }}
.wide {{ grid-column: 1 / -1; }}
.tiles {{ grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }}
.card {{ background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 12px; margin: 0; min-width: 0; }}
.tile b {{ display: block; font-size: 22px; font-weight: 600; }}
.card svg, .card img {{ display: block; width: 100%; height: auto; }}
.card svg text {{ font-family: system-ui, sans-serif; }}
.picture {{ overflow-x: auto; }}
.pieces {{ display: flex; }}
.pieces i {{ flex: var(--w) 0 0; min-width: 0;
  aspect-ratio: var(--w) / var(--high);
  background: var(--picture) var(--x) 0 /
    calc(var(--full) / var(--w) * 100%) auto no-repeat;
  print-color-adjust: exact; }}
.pieces .again {{ display: none; }}
figcaption {{ padding-top: 8px; font-size: 13px; color: var(--muted); }}
figcaption b {{ color: var(--ink); font-weight: 600; }}
.scroll {{ overflow: auto; max-height: 420px; padding: 0; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; }}
th, td {{ text-align: left; padding: 6px 12px; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }}
.numbers td, .numbers th {{ text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }}
.numbers thead th {{ white-space: normal; min-width: 90px;
  overflow-wrap: normal; }}
.numbers th:first-child, .numbers td:first-child {{ text-align: left; }}
tr:last-child td, tr:last-child th {{ border-bottom: 0; }}
.facts th {{ width: 30%; font-weight: 500; color: var(--muted); }}
thead th {{ position: sticky; top: 0; background: var(--head); }}
pre {{ margin: 0; padding: 12px; font-size: 12.5px; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
summary {{ cursor: pointer; padding: 4px 0; }}
@media (prefers-color-scheme: dark) {{
  /* Pictures are drawn on white: they lie on a plate of it. */
  .card img, .pieces {{ background: #fff; border: 6px solid #fff;
    border-radius: 6px; }}
}}
@media (max-width: 600px) {{
  main {{ padding: 16px 10px 40px; }}
  h1 {{ font-size: 21px; }}
  .card:not(.scroll) {{ padding: 10px; }}
  .tiles {{ grid-template-columns: 1fr 1fr; }}
  .tile b {{ font-size: 18px; overflow-wrap: anywhere; }}
  .pieces {{ flex-wrap: wrap; row-gap: 6px; }}
  .pieces i {{ flex: 0 0 calc(var(--w) / var(--row) * 99.9%);
    aspect-ratio: var(--w) / var(--cut); }}
  .pieces .again {{ display: block; }}
  /* Other large pictures scroll: shrunk to the screen they are illegible. */
  .large .picture img {{ width: 680px; }}
  .large.wide .picture img {{ width: 920px; }}
  .numbers th, .numbers td {{ padding: 6px 8px; font-size: 13px; }}
  .facts tr, .facts th, .facts td {{ display: block; width: 100%; }}
  .facts tr {{ border-bottom: 1px solid var(--line); padding: 6px 0; }}
  .facts th, .facts td {{ border: 0; padding: 0; }}
}}
"""
