import Foundation
import TestSupport
import Testing

@testable import Pipeline

@Suite(
    "the report in headless Chromium",
    .enabled(if: Browser.path != nil, "chromium is not on PATH (apt-get install chromium)"), .serialized)
struct ReportBrowserTests {
    private static let attack = "<script>document.title='x'</script><img src=x onerror=\"document.title='y'\">"

    /// A page of a run whose texts try to break out, in a folder of its own.
    private func withPage(_ change: (inout SampleRun) -> Void = { _ in }, _ body: (URL) throws -> Void) throws {
        try withTemporaryFolder { folder in
            var run = SampleRun()
            run.output = Self.attack
            run.target = "Ω mark"
            run.title = "A & B <b>title</b>"
            run.relearning = [(0, 0, 0), (5, 2, 1), (10, 9, 8)]
            change(&run)
            try run.write(to: folder)
            try body(URL(fileURLWithPath: try RunReport.rewrite(folder: folder.path).htmlPath))
        }
    }

    @Test("renders without a message on the console, shows hostile outputs as text and runs nothing")
    func rendersAndRunsNothing() throws {
        try withPage { page in
            let result = try Browser.document(of: page)
            #expect(result.consoleLines.isEmpty, "\(result.consoleLines)")
            #expect(result.output.contains("<title>A &amp; B &lt;b&gt;title&lt;/b&gt;</title>"))
            #expect(!result.output.contains("<script") && !result.output.contains("<img"))
            #expect(result.output.contains("&lt;script&gt;document.title='x'&lt;/script&gt;"))
            #expect(result.output.contains("The fingerprint (utf) was there"))
        }
    }

    @Test("runs no script that got into the file: the policy holds by itself")
    func policyHolds() throws {
        try withPage { page in
            let html = try String(contentsOf: page, encoding: .utf8)
            let broken = html.replacingOccurrences(
                of: "</main>", with: "\(Self.attack)<p style=\"color: red\">x</p></main>")
            try Data(broken.utf8).write(to: page)
            let result = try Browser.document(of: page)
            #expect(result.output.contains("<title>A &amp; B"))
            #expect(result.consoleLines.contains { $0.contains("Content Security Policy") }, "\(result.log)")
        }
    }

    @Test("draws each point of the data, and no more")
    func points() throws {
        let erasing = (1...25).map { (step: $0, loss: 5 - Double($0) / 10, hits: 32 - $0) }
        try withPage({ $0.erasing = erasing }) { page in
            let document = try Browser.document(of: page).output
            let charts = document.components(separatedBy: "<svg ").dropFirst().map { String($0) }
            // Loss, FSR with prefix match, target NLL; relearning: FSR and target NLL of two models.
            let lines = charts.map { chart in
                chart.components(separatedBy: "<polyline points=\"").dropFirst().map { line in
                    line.prefix { $0 != "\"" }.split(separator: " ").count
                }
            }
            #expect(lines == [[25], [25, 25], [25], [3, 3], [3, 3]])
            // Each point of the FSR has its own mark that says what it is.
            for row in erasing {
                let share = Chart.Axis("", unit: .percent).text(Double(row.hits) / 32)
                #expect(document.contains("<title>FSR: \(share) at \(row.step)</title>"))
            }
        }
    }

    @Test("is as wide as a phone on a phone, and its tables scroll by themselves")
    func phone() throws {
        let long = String(repeating: "averylongwordwithoutspaces", count: 40)
        try withPage({
            $0.output = long; $0.prompt = long
        }) { page in
            let at390 = try widths(of: page, at: 390)
            #expect(at390 == [390, 0])
            let at1280 = try widths(of: page, at: 1280)
            #expect(at1280 == [1280, 0])
        }
    }

    /// The width of the window and how far the page scrolls sideways, everything unfolded.
    private func widths(of page: URL, at width: Int) throws -> [Int] {
        let text = try answer(
            """
            for (const d of page.querySelectorAll('details')) d.open = true;
            const root = page.documentElement;
            return [page.defaultView.innerWidth, root.scrollWidth - root.clientWidth].join(' ')
            """, of: page, at: width)
        return text.split(separator: " ").compactMap { Int($0) }
    }

    /// What a script says of the page, which keeps its policy, in a window of that width.
    private func answer(_ script: String, of page: URL, at width: Int) throws -> String {
        // A window of Chromium cannot be as narrow as a phone: a frame of that width is.
        let frame = """
            <!DOCTYPE html><title>none</title><iframe src="\(page.lastPathComponent)" width="\(width)" height="800"
            style="border: 0"></iframe><script>
            const ask = page => { \(script) };
            addEventListener('load', () => { document.title = ask(document.querySelector('iframe').contentDocument) })
            </script>
            """
        let harness = page.deletingLastPathComponent().appendingPathComponent("harness.html")
        try Data(frame.utf8).write(to: harness)
        let document = try Browser.document(of: harness, options: ["--allow-file-access-from-files"]).output
        let title = try #require(document.components(separatedBy: "<title>").dropFirst().first)
        return String(title.prefix { $0 != "<" })
    }

    @Test("keeps every column of its tables on a phone: each figure under its column's name")
    func cards() throws {
        try withPage { page in
            // Of every table of figures: how far it scrolls, and what stands beyond its right edge.
            let script = """
                const tables = [...page.querySelectorAll('table.cards')];
                const cut = tables.flatMap(t => [...t.querySelectorAll('td')])
                  .filter(c => c.getBoundingClientRect().right > page.defaultView.innerWidth).length;
                const label = page.defaultView.getComputedStyle(page.querySelector('table.cards td'), '::before').content;
                return [tables.length, cut, label].join(' ')
                """
            let (narrow, wide) = (try answer(script, of: page, at: 390), try answer(script, of: page, at: 1280))
            #expect(narrow == "1 0 \"reference\"" && wide == "1 0 none", "\(narrow); \(wide)")
        }
    }

    @Test("on paper everything is unfolded, and light")
    func print() throws {
        try withPage { page in
            let html = try String(contentsOf: page, encoding: .utf8)
            let folded = try #require(html.range(of: "<details><summary>29 more triggers"))
            let end = try #require(html.range(of: "</details>", range: folded.upperBound..<html.endIndex))
            let short = page.deletingLastPathComponent().appendingPathComponent("short.html")
            try Data(html.replacingCharacters(in: folded.lowerBound..<end.upperBound, with: "").utf8).write(to: short)
            let (all, some) = (try Browser.pageCount(of: page), try Browser.pageCount(of: short))
            #expect(some >= 1 && all >= some + 3, "\(all) pages, \(some) without what is folded")
        }
    }

    @Test("is dark where dark is preferred")
    func dark() throws {
        try withPage { page in
            let light = try Browser.screenshot(of: page, width: 500)
            let dark = try Browser.screenshot(
                of: page, width: 500, options: ["--blink-settings=preferredColorScheme=0"])
            #expect(light != dark)
        }
    }

    @Test("compares runs on one page: a row and a section each, their curves together")
    func comparison() throws {
        try withTemporaryFolder { folder in
            let folders = try (0..<3).map { index in
                let out = folder.appendingPathComponent("run\(index)")
                var run = SampleRun()
                run.title = index < 2 ? "same" : "<i>other</i>"
                run.output = Self.attack
                try run.write(to: out)
                return out.path
            }
            let page = folder.appendingPathComponent("compare.html")
            try Data(try RunComparison(folders: folders).html().utf8).write(to: page)
            let result = try Browser.document(of: page)
            #expect(result.consoleLines.isEmpty, "\(result.consoleLines)")
            #expect(result.output.contains("<a href=\"#run-3\">&lt;i&gt;other&lt;/i&gt;</a>"))
            #expect(result.output.contains(">same (run0)</a>") && result.output.contains(">same (run1)</a>"))
            #expect(result.output.components(separatedBy: "<section id=\"run-").count == 4)
            #expect(result.output.contains("<title>3 runs compared</title>"))
            let at390 = try widths(of: page, at: 390)
            #expect(at390 == [390, 0])
        }
    }

    @Test("sorts a comparison by a click on a column's name, what was not measured last; by script, under the policy")
    func sorting() throws {
        try withTemporaryFolder { folder in
            let folders = try zip(["b", "a", "c"], [3, 30, 12]).map { title, hits in
                let out = folder.appendingPathComponent(title)
                var run = SampleRun()
                run.title = title
                run.stages[2].figures.hits = hits
                if title == "c" { run.stages.removeLast(2) }
                try run.write(to: out)
                return out.path
            }
            let page = folder.appendingPathComponent("compare.html")
            try Data(try RunComparison(folders: folders).html().utf8).write(to: page)
            func order(_ clicks: String) throws -> String {
                try answer(
                    """
                    const heads = [...page.querySelectorAll('thead th[data-column]')];
                    const click = name => heads.find(h => h.textContent.trim() === name).querySelector('button').click();
                    const last = name => heads.filter(h => h.textContent.trim() === name).at(-2).querySelector('button').click();
                    \(clicks)
                    return [...page.querySelectorAll('table.sortable tbody th a')].map(r => r.textContent).join('')
                    """, of: page, at: 1280)
            }
            #expect(try order("") == "bac")
            #expect(try order("click('run')") == "abc")
            #expect(try order("click('run'); click('run')") == "cba")
            #expect(try order("last('FSR')") == "bac")
            #expect(try order("last('FSR'); last('FSR')") == "abc")
        }
    }
}
