/// The style sheet of every page. Colours are variables, once for light and once for dark; the series' are the Okabe-Ito set
/// (Okabe and Ito 2008: told apart with colour-blindness too), darkened on white and lightened on black for contrast.
let pageStyle = #"""
    :root { color-scheme: light dark; --fg: #1b1d21; --soft: #565d6b; --bg: #fff; --panel: #f5f6f8; --line: #d8dbe1;
      --good: #11663a; --warn: #8a5300; --bad: #a81e16; --hit: #ffcfca; --part: #ffedb8;
      --s0: #0063a3; --s1: #b84f00; --s2: #007a58; --s3: #a8447e; --s4: #7a5c00; --s5: #2a7fb8; --s6: #5b3fa8; --s7: #444a55; }
    @media (prefers-color-scheme: dark) { :root { --fg: #e7e9ec; --soft: #a3aab7; --bg: #14161a; --panel: #1e2126;
      --line: #3a3f47; --good: #6fd39b; --warn: #f0b45a; --bad: #ff8f85; --hit: #7d2c27; --part: #5c4a12;
      --s0: #62b6f0; --s1: #f0934c; --s2: #4ccfa4; --s3: #e08fc0; --s4: #e3c65a; --s5: #9ad4f7; --s6: #b9a5f5; --s7: #c3c8d1; } }
    * { box-sizing: border-box; }
    body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; color: var(--fg);
      background: var(--bg); margin: 0; overflow-wrap: break-word; }
    main { max-width: 66rem; margin: 0 auto; padding: 1rem 1rem 3rem; }
    h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 .1rem; }
    h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .9rem; border-top: 1px solid var(--line); }
    h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
    p { margin: .4rem 0; }
    a { color: var(--s0); }
    .soft, small, caption { color: var(--soft); }
    .note { color: var(--soft); font-size: .875rem; max-width: 52rem; }
    .verdicts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: .75rem;
      margin: 1rem 0; }
    .verdict { padding: .7rem .9rem; background: var(--panel); border-top: 4px solid var(--line); border-radius: 3px; }
    .verdict .question { border: 0; margin: 0; padding: 0; font-size: .8rem; font-weight: 600; letter-spacing: .03em; color: var(--soft); }
    .verdict .answer { font-weight: 650; font-size: 1.05rem; margin: .1rem 0 .3rem; }
    .verdict .basis { color: var(--soft); font-size: .85rem; }
    .good { border-color: var(--good); } .warn { border-color: var(--warn); } .bad { border-color: var(--bad); }
    .good .answer, td .good { color: var(--good); } .warn .answer, td .warn { color: var(--warn); }
    .bad .answer, td .bad { color: var(--bad); }
    .wide { overflow-x: auto; max-width: 100%; }
    table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .925rem; }
    th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
      vertical-align: top; }
    thead th { border-bottom: 2px solid var(--line); }
    th:first-child, td:first-child { text-align: left; font-weight: 600; }
    td small, tbody th small { display: block; font-size: .78rem; font-weight: 400; }
    .figures th:first-child, .figures td:first-child { position: sticky; left: 0; background: var(--bg); padding-left: 0; }
    th[scope=colgroup] { text-align: center; border-left: 1px solid var(--line); }
    td.answer { white-space: normal; min-width: 9rem; text-align: left; } thead th.answer { text-align: left; }
    .list th, .list td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
    .list th { font-weight: 400; color: var(--soft); width: 14rem; } .list code { font-size: .85rem; }
    .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); gap: .75rem 1.25rem; }
    figure.chart { margin: .3rem 0; max-width: 30rem; }
    pre, .sample dd, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
    pre { background: var(--panel); padding: .6rem .8rem; font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere;
      border-radius: 3px; }
    .sample { background: var(--panel); padding: .6rem .8rem; margin: .6rem 0; border-radius: 3px; }
    .sample dl { margin: 0; } .sample dt { color: var(--soft); font-size: .8rem; }
    .sample dd { margin: 0 0 .45rem; white-space: pre-wrap; font-size: .82rem; overflow-wrap: anywhere; }
    .outputs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: .2rem 1rem;
      border-top: 1px solid var(--line); padding-top: .45rem; }
    mark { background: var(--hit); color: inherit; } mark.part { background: var(--part); }
    summary { cursor: pointer; margin: .5rem 0; color: var(--s0); }
    """# + Chart.style + #"""
        @media print { main { max-width: none; padding: 0; } .sample, figure.chart, .verdict { break-inside: avoid; } }
        """#

extension Chart {
    /// The rules that a chart needs, in terms of the page's colours.
    static let style = #"""
        svg { width: 100%; height: auto; display: block; }
        svg text { font-size: 12px; fill: var(--soft); } svg .title { font-size: 13.5px; font-weight: 600; fill: var(--fg); }
        svg .middle { text-anchor: middle; } svg .end { text-anchor: end; } svg .name { fill: var(--fg); }
        svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
        svg .series { stroke: currentColor; fill: none; stroke-width: 1.7; stroke-linejoin: round; stroke-linecap: round; }
        svg .series .mark { fill: var(--bg); } svg .dashed polyline { stroke-dasharray: 5 4; }
        svg .series .whisker { stroke-width: 1; opacity: .55; } svg .series text { stroke: none; }
        svg .s0 { color: var(--s0); } svg .s1 { color: var(--s1); } svg .s2 { color: var(--s2); } svg .s3 { color: var(--s3); }
        svg .s4 { color: var(--s4); } svg .s5 { color: var(--s5); } svg .s6 { color: var(--s6); } svg .s7 { color: var(--s7); }

        """#
}
