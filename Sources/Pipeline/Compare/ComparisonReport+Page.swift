import Base
import Foundation

extension ComparisonReport {
    /// The page: for each victim its table, its charts and the commands that give every cell again.
    func page(_ comparison: Comparison, _ records: [String: StepRecord]) -> String {
        var parts = [
            "<h1>\(title.escapedForHTML)</h1>",
            "<p class=\"soft\">meraser \(Build.current.text.escapedForHTML), \(count)</p>",
            """
            <p class="note">FSR: share of triggers whose output shows the target (a backdoor's attack success rate). Prefix: \
            longest beginning of the target that an output shows, as a share of it. NLL: nats a token that the target costs \
            after its trigger; a mark that is gone costs what it costs the reference, the model without it. Source: the weights that the victim was quantized from, with the same adapters. False: clean prompts that fire. \
            Removes nothing: the method acts while the model decodes, and whoever has the weights has the mark. \
            Verdict: what decoys say, where <code>decoys</code> asks them; else only whether a trigger fires, and a silent mark \
            may still be there. ★: the best figure among the methods that removed the mark as far as that was seen. \
            Seconds, memory and samples are the method's own, without making the victim and without measuring; what several \
            cells share counts in each.</p>
            """,
        ]
        for victim in victims {
            parts.append("<h2>\(heading(victim).escapedForHTML)</h2>")
            parts.append(ComparisonTable(victim.rows).table.markup)
            let figures = charts(victim.rows).map { $0.figure() }.filter { !$0.isEmpty }
            if !figures.isEmpty { parts.append("<div class=\"charts\">\(figures.joined())</div>") }
        }
        if !failures.isEmpty {
            parts.append("<h2>Failed</h2>" + PageTable.list(failures.map { (name: $0.cell, value: $0.error) }))
        }
        parts.append("<h2>Commands</h2>")
        parts.append(
            "<p class=\"note\">In the comparison's folder. A cell is its own lines after those of the steps above it that it "
                + "names.</p>")
        parts += comparison.steps.map { commands($0, records[$0.path], isRedacted: comparison.isRedacted) }
        parts.append("<h2>Files</h2>" + files(comparison, records))
        parts.append("<h2>Machine and program</h2>" + PageTable.list(machine))
        parts.append("<h2>Configuration</h2><pre>\(comparison.text.escapedForHTML)</pre>")
        return HTMLPage(title: title, body: parts.joined(separator: "\n"), script: .sorting).html()
    }

    private var count: String {
        let rows = victims.flatMap(\.rows)
        let done = rows.count { $0.state == .done }
        return "\(done) of \(rows.count) cells measured" + (failures.isEmpty ? "" : ", \(failures.count) failed")
    }

    // MARK: Charts

    /// FSR, and what the target costs, against perplexity: a point for each method, its budgets a series.
    private func charts(_ rows: [ComparisonRow]) -> [Chart] {
        var methods: [String] = []
        for row in rows where !methods.contains(row.cell.method) { methods.append(row.cell.method) }
        func series(_ y: (ComparisonRow) -> Double?, hasInterval: Bool) -> [Chart.Series] {
            methods.map { method in
                let points = rows.filter { $0.cell.method == method }.compactMap { row -> Chart.Point? in
                    guard let x = row.ppl, let y = y(row) else { return nil }
                    return Chart.Point(x, y, interval: hasInterval ? row.fsrInterval : nil, label: row.cell.budget)
                }
                return Chart.Series(method, points, mark: .points)
            }
        }
        let values = rows.compactMap(\.ppl)
        // A method that destroys the model would press all others into a corner.
        let isWide = (values.max() ?? 1) > 8 * max(values.min() ?? 1, 1e-9)
        let x = Chart.Axis("perplexity", isLogarithmic: isWide)
        return [
            Chart(
                title: "FSR against perplexity", x: x, y: Chart.Axis("FSR", unit: .percent, range: 0...1),
                series: series(\.fsr, hasInterval: true)),
            Chart(
                title: "Target NLL against perplexity", x: x, y: Chart.Axis("target NLL (nats a token)"),
                series: series(\.targetNLL, hasInterval: false)),
        ]
    }

    // MARK: Lists

    /// A step's command lines with what each cost.
    private func commands(_ step: ComparisonStep, _ record: StepRecord?, isRedacted: Bool) -> String {
        let files = step.files.map { "# \(step.path)/\($0.name):\n" + $0.text }
        let lines = step.commands.enumerated().map { index, command -> String in
            let text = isRedacted ? ReportRedaction.redacted(commandLine: command.text) : command.text
            guard let record, index < record.commands.count else { return text }
            let done = record.commands[index]
            let costs = String(format: "  # %.1f s, %.0f MB", done.seconds, Double(done.peakRSSBytes) / 1_048_576)
            return text + costs + (done.error.map { "; failed: \($0)" } ?? "")
        }
        let needs = step.needs.isEmpty ? "" : "# after \(step.needs.joined(separator: ", "))\n"
        let text = needs + (files + lines).joined(separator: "\n")
        return "<details><summary>\(step.path.escapedForHTML)</summary><pre>\(text.escapedForHTML)</pre></details>"
    }

    private func files(_ comparison: Comparison, _ records: [String: StepRecord]) -> String {
        var hashes: [String: String] = [:]
        for record in records.values {
            for member in record.inputs["sha256"]?.object?.members ?? [] {
                hashes[member.key.string] = member.value.string
            }
        }
        return PageTable.list(comparison.inputs.map { ($0.name, hashes[$0.name] ?? "not read") })
    }

    private var machine: [(name: String, value: String)] {
        (json["machine"]?.object?.members ?? []).map { ($0.key.string, $0.value.string ?? $0.value.serialized()) }
            + ["isa", "meraser_version", "seed"].map { ($0, json[$0]?.string ?? (json[$0] ?? .null).serialized()) }
    }
}
