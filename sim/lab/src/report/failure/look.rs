//! How a failure's page looks in light and dark, and the little it does: copy a line, show header fields.

pub(super) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #f4f5f7; --line: #d5d9df; --dim: #57606a;
  --red: #c62828; --redsoft: #fdecea; --blue: #1f5fbf; --amber: #9a6700; --band: #f0b42938; --cell: 78%; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --soft: #1e2328; --line: #363c43;
  --dim: #9aa4af; --red: #ff7b72; --redsoft: #3a1d1d; --blue: #79b0ff; --amber: #e0ae3a; --band: #e0ae3a30; --cell: 28%; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.45rem; line-height: 1.3; margin: .6rem 0; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } .number { color: var(--dim); margin-right: .3rem; }
a { color: var(--blue); } :focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
.kicker { color: var(--dim); margin: 0; } .where { color: var(--dim); margin: 0 0 .6rem; } .dim { color: var(--dim); font-size: .9rem; }
.badge { background: var(--red); color: var(--paper); border-radius: .3rem; padding: .1em .5em; font-weight: 600; }
.rule { border-left: .25rem solid var(--line); padding-left: .8rem; }
.cause { border-left: .25rem solid var(--red); background: var(--redsoft); padding: .6rem .9rem; border-radius: .2rem; }
.cause h2 { margin: 0; font-size: 1rem; color: var(--red); } .cause p { margin: .3rem 0 .5rem; }
.cause dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem .9rem; margin: 0; } .cause dt { font-size: inherit; } .cause dd { margin: 0; overflow-wrap: anywhere; }
.cause dd code { white-space: nowrap; }
.command { margin: .3rem 0; display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: center; }
button.copy { font: inherit; text-align: left; color: inherit; background: var(--soft); border: 1px solid var(--line);
  border-radius: .3rem; padding: .35rem .6rem; cursor: copy; overflow-wrap: anywhere; }
button.copy:hover { border-color: var(--blue); } button.done::after { content: ' copied'; color: var(--blue); }
code, pre, .path { font: 13px/1.45 ui-monospace, monospace; }
.wide, .scroll { overflow-x: auto; } .scroll { isolation: isolate; max-height: 80vh; overflow-y: auto; border: 1px solid var(--line); border-radius: .3rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--dim); font-weight: 600; background: var(--soft); } tbody th { font-weight: 500; }
.time { white-space: nowrap; color: var(--dim); } .num { text-align: right; white-space: nowrap; } .bad { color: var(--red); font-weight: 600; }
.changed { color: var(--amber); font-weight: 600; } tr.ours { background: var(--soft); }
tr.wrong, tr.missing { background: var(--redsoft); } tr.wrong strong, tr.missing strong, tr.noticed strong { color: var(--red); }
tr.noticed td { border-left: 0 solid var(--red); } tr.noticed td:first-child { box-shadow: inset 3px 0 var(--red); } tr.wrong td b, tr.missing td b { font-weight: 600; color: var(--dim); }
tr.fault td { color: var(--amber); } tr.missing td { border-bottom-style: dashed; } tr.gap td { color: var(--dim); font-size: .85rem; padding: .1rem .6rem; }
.grid { font-size: 12px; } .grid td, .grid th { padding: .15rem .35rem; border: 1px solid var(--line); text-align: center; white-space: nowrap; }
.grid td.time, .grid td.who { text-align: left; } .grid .v { background: hsl(var(--h) 60% var(--cell)); }
.grid td.from { border-left: 4px solid var(--ink); } .grid td.until { border-right: 4px solid var(--ink); }
.grid tr.cut td { border-top: 3px double var(--amber); color: var(--amber); font-weight: 600; }
.grid th.witness { background: var(--red); color: var(--paper); } .grid tr.marked td.time, .grid tr.marked td.who { background: var(--redsoft); font-weight: 600; color: var(--red); }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .3rem; padding: .7rem; overflow-x: auto; }
pre.tip { min-height: 3.2em; max-height: 15em; overflow-y: auto; white-space: pre-wrap; overflow-wrap: anywhere; position: sticky; bottom: 0; z-index: 3; margin: .4rem 0; }
.switch > input { margin-left: .2rem; } .switch > label { margin-right: 1.2rem; } .drawing { margin-top: .5rem; }
.drawing.all, #all:checked ~ .drawing.near { display: none; } #all:checked ~ .drawing.all { display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); } svg text.dim { fill: var(--dim); font-size: 10px; }
svg.bands { width: 100%; min-width: 40rem; max-width: 62rem; } .rail { fill: var(--soft); } .band { fill: var(--band); } .tick, .pause { stroke: var(--line); }
.bands .band { fill: var(--amber); opacity: .75; } .event { stroke: var(--red); stroke-width: 2; } .pause { stroke-dasharray: 2 4; }
.lane { stroke: var(--line); stroke-width: 2; } .lane.disk { stroke-dasharray: 5 4; } .names { position: sticky; top: 0; z-index: 2; background: var(--soft); box-shadow: 0 1px var(--line); } .names, .rows { display: flex; }
.names svg, .rows svg { display: block; flex: none; } .times, .corner { position: sticky; left: 0; z-index: 1; background: var(--paper); } .corner { background: var(--soft); } .names text { font-weight: 600; font-size: 13px; }
.space { display: block; } .arrow line { stroke: var(--blue); stroke-width: 1.2; } .arrow text, .dot text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.arrow.answer line { stroke-dasharray: 6 3; } .arrow.ours line { stroke-width: 2.4; } .arrow line.hit { stroke: transparent; stroke-width: 11; stroke-dasharray: none; }
.arrow.lost line:not(.hit) { stroke: var(--red); } .arrow .cross, .arrow.lost text { fill: var(--red); } .arrow .cross { font-size: 14px; font-weight: 700; }
.arrow:hover text, .arrow:focus text { font-weight: 700; } marker path { fill: var(--blue); }
.dot circle, .dot rect { fill: var(--ink); } .dot text { fill: var(--dim); } .dot.fault circle { fill: var(--amber); }
.dot.noticed circle { fill: var(--paper); stroke: var(--red); stroke-width: 2; } .dot.noticed text { fill: var(--red); }
.dot.wrong circle, .dot.wrong rect { fill: var(--red); } .dot.wrong text { fill: var(--red); font-weight: 700; }
.both th { white-space: nowrap; }
.wrong-step { color: var(--red); font-weight: 700; } dl dt { color: var(--dim); font-size: .9rem; } dl dd { margin: 0 0 .5rem; } summary { cursor: pointer; margin: .5rem 0; }
@media (max-width: 40rem) { main { padding: .8rem; } h1 { font-size: 1.2rem; } .story thead { display: none; } .story tr { display: block; border-bottom: 1px solid var(--line); padding: .3rem 0; }
  .story td { display: inline; border: 0; padding: 0 .3rem; } .story td:last-child { display: block; }
  .cause dl { display: block; } .cause dd { margin-bottom: .4rem; } .cause dd code { white-space: normal; }
  .stack, .stack tbody { display: block; } .stack thead { display: none; } .stack tr { display: block; border-bottom: 2px solid var(--line); padding: .3rem 0; }
  .stack td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem .3rem; text-align: right; overflow-wrap: anywhere; white-space: normal; }
  .stack td::before { content: attr(data-name); color: var(--dim); text-align: left; font-weight: 400; } }
@media print { .scroll { isolation: isolate; max-height: none; } pre.tip, .switch > input, .switch > label { display: none; } }
";

pub(super) const SCRIPT: &str = "
for (const button of document.querySelectorAll('button.copy')) button.addEventListener('click', () => {
  const text = button.innerText;
  const done = () => { button.classList.add('done'); setTimeout(() => button.classList.remove('done'), 1500); };
  const select = () => { const range = document.createRange(); range.selectNodeContents(button);
    getSelection().removeAllRanges(); getSelection().addRange(range); document.execCommand('copy'); done(); };
  navigator.clipboard ? navigator.clipboard.writeText(text).then(done, select) : select();
});
const centre = box => {
  const gutter = 92;
  box.scrollTop = box.dataset.y - box.clientHeight / 2;
  box.scrollLeft = Number(box.dataset.x) - (box.clientWidth - gutter) / 2;
};
const boxes = document.querySelectorAll('.scroll');
boxes.forEach(centre);
for (const choice of document.querySelectorAll('.switch > input')) choice.addEventListener('change', () => boxes.forEach(centre));
const tip = document.querySelector('pre.tip');
for (const part of document.querySelectorAll('.space [tabindex]')) {
  const show = () => { tip.textContent = part.querySelector('title').textContent; };
  part.addEventListener('mouseenter', show); part.addEventListener('focus', show); part.addEventListener('click', show);
}
";
