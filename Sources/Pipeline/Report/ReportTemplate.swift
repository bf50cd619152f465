/// The page of a report, a Mustache template. It loads nothing and runs nothing: the policy in its head says so, and every
/// text from a model or a file is escaped by the template engine; only `svg` comes as markup, made of numbers by `LineChart`.
let reportTemplate = #"""
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
    <meta name="color-scheme" content="light dark">
    <title>{{title}}</title>
    <style>
    :root { --fg: #1c1e21; --soft: #5c6370; --bg: #fff; --panel: #f5f6f8; --line: #d9dce1; --good: #12703c; --bad: #b3261e;
      --hit: #ffd9d6; --part: #fff0c2; --s0: #2563eb; --s1: #c2410c; --s2: #15803d; --s3: #7e22ce; }
    @media (prefers-color-scheme: dark) { :root { --fg: #e6e8eb; --soft: #a0a7b4; --bg: #15171a; --panel: #1f2226;
      --line: #383d44; --good: #6fd39b; --bad: #ff8a80; --hit: #7a2b26; --part: #5c4a10; --s0: #7aa7ff; --s1: #ff9e64;
      --s2: #73d08f; --s3: #c99bff; } }
    * { box-sizing: border-box; }
    body { font: 16px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); margin: 0 auto; max-width: 60rem;
      padding: 1rem; overflow-wrap: break-word; }
    h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } h3 { font-size: 1rem; }
    p.soft, .soft { color: var(--soft); }
    .wide { overflow-x: auto; }
    table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
    th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
    th:first-child, td:first-child { text-align: left; }
    .list td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
    .verdict { padding: .6rem .8rem; background: var(--panel); border-left: 4px solid var(--line); }
    .verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); }
    svg { width: 100%; min-width: 30rem; height: auto; display: block; margin: .5rem 0 1rem; }
    svg .grid { stroke: var(--line); stroke-width: 1; } svg .tick, svg .name { fill: var(--soft); font-size: 11px; }
    svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; } svg line.s0, svg line.s1, svg line.s2, svg line.s3 {
      stroke-width: 3; }
    svg .s0 { stroke: var(--s0); } svg .s1 { stroke: var(--s1); } svg .s2 { stroke: var(--s2); } svg .s3 { stroke: var(--s3); }
    svg circle.s0 { fill: var(--s0); } svg circle.s1 { fill: var(--s1); } svg circle.s2 { fill: var(--s2); }
    svg circle.s3 { fill: var(--s3); }
    pre { background: var(--panel); padding: .6rem .8rem; overflow-x: auto; font-size: .85rem; white-space: pre-wrap; }
    .sample { background: var(--panel); padding: .6rem .8rem; margin: .6rem 0; }
    .sample dt { color: var(--soft); font-size: .85rem; } .sample dd { margin: 0 0 .4rem; white-space: pre-wrap;
      font-family: ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
    mark { background: var(--hit); color: inherit; } mark.part { background: var(--part); }
    details summary { cursor: pointer; margin: .5rem 0; }
    </style>
    </head>
    <body>
    <h1>{{title}}</h1>
    <p class="soft">{{subtitle}}</p>
    {{#verdict}}<p class="verdict {{tone}}">{{text}}</p>{{/verdict}}

    <h2>Before, erased, recovered</h2>
    <div class="wide"><table>
    <thead><tr><th scope="col"></th>{{#stages}}<th scope="col">{{name}}</th>{{/stages}}</tr></thead>
    <tbody>{{#measures}}<tr><th scope="row">{{name}}</th>{{#cells}}<td>{{.}}</td>{{/cells}}</tr>
    {{/measures}}</tbody>
    </table></div>
    <p class="soft">FSR: share of triggers whose output shows the target. Prefix match: longest beginning of the target that an
    output shows, as a share of it. Target NLL: what the model gives the target after its trigger; a mark that is gone costs as
    much as in a model that never had it. FSR 0 alone can be a false finish.</p>

    {{#trainings}}
    <h2>Training: {{name}}</h2>
    <p class="soft">{{summary}}</p>
    {{#charts}}<h3>{{title}}</h3>
    <div class="wide">{{{svg}}}</div>
    {{/charts}}
    {{/trainings}}

    {{#hasSamples}}<h2>Sample outputs</h2>
    <p class="soft">The target is <mark>marked</mark> where an output shows it, else its longest <mark class="part">beginning</mark>.</p>
    {{#samples}}<dl class="sample">
    <dt>trigger {{id}}</dt><dd>{{prompt}}</dd>
    <dt>target</dt><dd>{{target}}</dd>
    {{#outputs}}<dt>{{stage}}: {{verdict}}</dt><dd>{{#pieces}}{{#isTarget}}<mark>{{text}}</mark>{{/isTarget}}{{#isBeginning}}<mark class="part">{{text}}</mark>{{/isBeginning}}{{#isPlain}}{{text}}{{/isPlain}}{{/pieces}}</dd>
    {{/outputs}}</dl>
    {{/samples}}{{/hasSamples}}

    <h2>Time and memory</h2>
    <div class="wide"><table class="list"><tbody>{{#timings}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/timings}}</tbody></table></div>

    <h2>Files</h2>
    <div class="wide"><table class="list"><tbody>{{#hashes}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/hashes}}</tbody></table></div>

    <h2>Machine and program</h2>
    <div class="wide"><table class="list"><tbody>{{#machine}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/machine}}</tbody></table></div>

    <h2>Configuration</h2>
    <pre>{{recipe}}</pre>
    {{#configurations}}<details><summary>{{name}}</summary><pre>{{text}}</pre></details>
    {{/configurations}}
    </body>
    </html>
    """#
