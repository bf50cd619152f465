/// The style sheet of every page. Colours are variables, once for light and once for dark; the series' are the Okabe-Ito set
/// (Okabe and Ito 2008: told apart with colour-blindness too), darkened on white and lightened on black for contrast.
let pageStyle = #"""
    :root { color-scheme: light dark; --fg: #1b1d21; --soft: #565d6b; --bg: #fff; --panel: #f5f6f8; --line: #d8dbe1; --shade: #0003;
      --fact: #0063a3; --good: #11663a; --warn: #8a5300; --bad: #a81e16; --hit: #ffcfca; --part: #ffedb8;
      --s0: #0063a3; --s1: #b84f00; --s2: #007a58; --s3: #a8447e; --s4: #7a5c00; --s5: #2a7fb8; --s6: #5b3fa8; --s7: #444a55; }
    @media screen and (prefers-color-scheme: dark) { :root { --fg: #e7e9ec; --soft: #a3aab7; --bg: #14161a; --panel: #1e2126;
      --line: #3a3f47; --shade: #fff4; --fact: #62b6f0; --good: #6fd39b; --warn: #f0b45a; --bad: #ff8f85; --hit: #7d2c27; --part: #5c4a12;
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
    .fact { border-color: var(--fact); } .good { border-color: var(--good); } .warn { border-color: var(--warn); } .bad { border-color: var(--bad); }
    .fact .answer, td .fact { color: var(--fact); } .good .answer, td .good { color: var(--good); }
    .warn .answer, td .warn { color: var(--warn); } .bad .answer, td .bad { color: var(--bad); }
    /* A shadow on the side where a table goes on: covers that scroll with the table hide it where it does not. */
    .wide { overflow-x: auto; max-width: 100%; background:
      linear-gradient(to right, var(--bg) 40%, transparent) left / 2.5rem 100% no-repeat local,
      linear-gradient(to left, var(--bg) 40%, transparent) right / 2.5rem 100% no-repeat local,
      linear-gradient(to right, var(--shade), transparent) left / .9rem 100% no-repeat scroll,
      linear-gradient(to left, var(--shade), transparent) right / .9rem 100% no-repeat scroll; }
    table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .925rem; }
    th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
      vertical-align: top; }
    thead th { border-bottom: 2px solid var(--line); }
    th:first-child, td:first-child { text-align: left; font-weight: 600; }
    td small, tbody th small { display: block; font-size: .78rem; font-weight: 400; }
    .figures th:first-child { position: sticky; left: 0; background: var(--bg); padding-left: 0; }
    .figures tbody th { white-space: normal; min-width: 7.5rem; }
    th[scope=colgroup] { text-align: center; border-left: 1px solid var(--line); }
    td.text { white-space: normal; min-width: 8rem; text-align: left; } thead th.text { text-align: left; }
    .best::after { content: " ★"; color: var(--good); }
    th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; }
    th button::after { content: " ↕"; color: var(--soft); } th[aria-sort=ascending] button::after { content: " ↑"; }
    th[aria-sort=descending] button::after { content: " ↓"; }
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
        @media screen and (max-width: 40rem) {
          .cards, .cards tbody, .cards th, .cards td { display: block; }
          .cards thead { display: none; } .cards.sorts thead { display: block; }
          .cards thead tr { display: flex; flex-wrap: wrap; gap: .2rem .9rem; padding-bottom: .4rem; }
          .cards thead th { border: 0; padding: 0; } .cards thead th[scope=colgroup] { display: none; }
          .cards tbody tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .35rem .8rem;
            padding: .6rem 0; border-bottom: 1px solid var(--line); }
          .cards tbody th, .cards tbody td { border: 0; padding: 0; text-align: left; white-space: normal; min-width: 0; }
          .cards tbody th, .cards td.text { grid-column: 1 / -1; position: static; }
          .cards td::before { content: attr(data-label); display: block; font-size: .75rem; color: var(--soft); }
        }
        @media print {
          main { max-width: none; padding: 0; } .sample, figure.chart, .verdict, tr { break-inside: avoid; }
          h2, h3, summary { break-after: avoid; } th button::after { content: ""; } mark { text-decoration: underline; }
          .wide { overflow: visible; background: none; } .figures { font-size: .72rem; }
          .figures th, .figures td { padding: .2rem .3rem; white-space: normal; min-width: 0; }
          .figures th:first-child { position: static; }
          /* Paper cannot be unfolded. */
          details::details-content { content-visibility: visible; block-size: auto; }
        }
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
        svg .faint { opacity: .35; } svg .faint polyline { stroke-width: 1; }
        svg .guide { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 2 3; }
        svg .section { stroke: var(--line); stroke-width: 1; stroke-dasharray: 4 3; }
        svg .s0 { color: var(--s0); } svg .s1 { color: var(--s1); } svg .s2 { color: var(--s2); } svg .s3 { color: var(--s3); }
        svg .s4 { color: var(--s4); } svg .s5 { color: var(--s5); } svg .s6 { color: var(--s6); } svg .s7 { color: var(--s7); }

        """#
}
