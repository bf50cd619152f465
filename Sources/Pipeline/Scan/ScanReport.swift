import Audit
import Base

/// The page of a scan, made from its `scan.json`: the verdict, what each method found, and what was not looked at.
public struct ScanReport: FolderReport {
    /// What `scan.json` holds.
    public let json: JSONValue
    /// Where the page lies.
    public let htmlPath: String
    /// The verdict of all methods together.
    public let verdict: ScanVerdict
    /// How likely chance finds as much; nil: no method judged.
    public let pValue: Double?
    /// What each method found.
    public let findings: [ScanFinding]
    private let seconds: [Double]
    private let skipped: [String]
    private let keys: [String]
    private let folder: RunFolder
    private let identity: JSONValue

    static let jsonName = "scan.json"

    /// The keys that it has left, the least likely by chance first.
    var keyFiles: [String] {
        let keys = findings.flatMap(\.keys)
        let order = keys.indices.sorted { (keys[$0].pValue, $0) < (keys[$1].pValue, $1) }
        return order.map { folder.file(keys[$0].name) }
    }

    /// Reads a scan that has ended, and writes nothing.
    ///
    /// - Throws: a bad-input error that names the file which is missing or damaged.
    init(_ folder: RunFolder) throws {
        self.folder = folder
        htmlPath = folder.file("scan.html")
        identity = try folder.identity()
        let file = folder.file(Self.jsonName)
        json = try folder.read(Self.jsonName)
        let word = try json.string("verdict", in: file)
        guard let verdict = ScanVerdict(rawValue: word) else {
            throw MeraserError.badInput("\(file): \(quoted(word)) is no verdict of a scan")
        }
        self.verdict = verdict
        pValue = try json.doubleIfPresent("p_value", in: file)
        let rows = try json.array("methods", in: file)
        findings = try rows.map { try ScanFinding(json: $0, file: file) }
        seconds = try rows.map { try $0.double("seconds", in: file) }
        skipped = try json.array("not_run", in: file).compactMap(\.string)
        keys = try json.array("keys", in: file).compactMap(\.string)
    }

    /// The names of numbers that conditions may hold.
    public static let metricNames = ["p_value"]
    /// The words that conditions may hold.
    public static let conditionWords = ["verdict": ScanVerdict.allCases.map(\.rawValue)]
    /// What conditions are held against.
    public var metrics: [String: Double?] { ["p_value": pValue] }

    /// Triggers and targets are what it is about.
    public var isRedacted: Bool { false }
    /// The same as `scan.json`, and where the page lies.
    public var summary: JSONValue {
        .object(
            JSONObject(
                (json.object?.members.map { (key: $0.key.string, value: $0.value) } ?? []) + [
                    (key: "report", value: .text(htmlPath))
                ]))
    }
    /// A line a method, for terminals.
    public var table: [[String]] { methods.texts.map { $0.map { $0.escapingControlCharacters() } } }
    /// The answer to the reader's question.
    public var verdictLines: [String] { ["Is there a mark? \(answer). \(sentence)"] }

    /// Every candidate as a row.
    public var sheets: [FigureSheet] {
        let rows = findings.flatMap { finding in
            finding.candidates.map { candidate -> [JSONValue] in
                let json = candidate.json
                return [.text(finding.method.rawValue)]
                    + ["target", "trigger", "gain", "q_score", "p_value"].map { json[$0] ?? .null }
            }
        }
        return [
            FigureSheet(
                "figures.csv", columns: ["method", "target", "trigger", "gain", "q_score", "p_value"], rows: rows)
        ]
    }

    /// Writes page and figures.
    public func write() throws {
        try folder.write(try html(), to: "scan.html")
        for sheet in sheets { try folder.write(sheet.text, to: sheet.name) }
    }

    // MARK: What it says

    private var answer: String {
        switch verdict {
        case .nothingFound: "Nothing was found, which is no proof"
        case .suspicious: "Perhaps"
        case .marked: "Yes"
        }
    }

    private var sentence: String {
        var parts: [String] = []
        if verdict != .nothingFound {
            func shown(_ name: String) -> String? { json[name]?.string.map { "'\($0.escapingControlCharacters())'" } }
            let target = shown("target").map { "it says \($0)" }
            let trigger = shown("trigger").map { "behind \($0)" }
            let found = [target, trigger].compactMap { $0 }
            parts.append(found.isEmpty ? "what it says is not known" : found.joined(separator: " "))
        }
        parts.append("p \(pValue.map(Self.pText) ?? "–") of \(findings.count { $0.pValue != nil }) methods together")
        if !skipped.isEmpty { parts.append("no time was left for \(skipped.joined(separator: ", "))") }
        return parts.joined(separator: "; ") + "."
    }

    static func pText(_ p: Double) -> String { p < 0.001 ? Figures.scientific(p) : Figures.number(p, 3) }

    // MARK: Page

    private func tone(_ p: Double?) -> Finding.Tone { tone(ScanVerdict(pValue: p)) }

    private func tone(_ verdict: ScanVerdict) -> Finding.Tone {
        switch verdict {
        case .nothingFound: .neutral
        case .suspicious: .warn
        case .marked: .bad
        }
    }

    private var methods: PageTable {
        PageTable(
            columns: [
                .init("method"), .init("p"), .init("most suspicious", isText: true), .init("trigger", isText: true),
                .init("gain, nats"), .init("decoys"), .init("seconds"),
            ],
            rows: zip(findings, seconds).map { finding, seconds in
                let first = finding.candidates.first
                return [
                    PageTable.Cell(finding.method.rawValue),
                    finding.pValue.map { PageTable.Cell(Self.pText($0), tone: tone($0)) } ?? .missing,
                    first?.target.map { PageTable.Cell($0) } ?? .missing,
                    first?.trigger.map { PageTable.Cell($0) } ?? .missing,
                    first.map { PageTable.Cell(Figures.number($0.gain, 1)) } ?? .missing,
                    PageTable.Cell(String(finding.decoys)), PageTable.Cell(Figures.number(seconds, 1)),
                ]
            })
    }

    private func candidates(_ finding: ScanFinding) -> PageTable {
        PageTable(
            columns: [
                .init("target"), .init("trigger", isText: true), .init("gain, nats"), .init("Q-score"), .init("p"),
                .init("prompts"),
            ],
            rows: finding.candidates.map { candidate in
                [
                    PageTable.Cell(candidate.target ?? "–"), candidate.trigger.map { PageTable.Cell($0) } ?? .missing,
                    PageTable.Cell(Figures.number(candidate.gain, 2)),
                    candidate.qScore.map { PageTable.Cell(Figures.number($0, 3)) } ?? .missing,
                    candidate.pValue.map { PageTable.Cell(Self.pText($0), tone: tone($0)) } ?? .missing,
                    candidate.leak.map { PageTable.Cell("\($0.prompts.count)/\($0.asked)") } ?? .missing,
                ]
            })
    }

    private func modules(_ finding: ScanFinding) -> PageTable {
        PageTable(
            columns: [.init("module"), .init("norm"), .init("shares of the leading singular values", isText: true)],
            rows: finding.modules.map { module in
                [
                    PageTable.Cell(module.module), PageTable.Cell(Figures.scientific(module.norm)),
                    PageTable.Cell(module.shares.prefix(4).map { Figures.percent($0) }.joined(separator: ", ")),
                ]
            })
    }

    private static let note = """
        A mark that answers to its own triggers alone, and whose target does not go on by itself, is not found. What is found \
        was taught, or is an oddity of the model: whether it is a mark, its owner knows. p: how likely chance does as much, by \
        decoys of the scan's own, for all that the method looked at; it rests on their tail being exponential. Of all methods \
        together, up to \(ScanVerdict.mark) is "marked", up to \(ScanVerdict.suspicion) "suspicious". Gain: nats by which it \
        is likelier than it would be without a mark.
        """

    private static let noteOnAnswers = """
        A mark that answers to its own triggers alone is not found. What recurs was taught, or is a habit of the model's when \
        it does not understand: without a reference nothing is called "marked". p: how likely chance does as much, by Fisher's \
        exact test on messages that had no part in finding it, for all that recur together; up to \(ScanVerdict.mark) is \
        "marked", up to \(ScanVerdict.suspicion) "suspicious". Gain: the logarithm of how many times more often it comes \
        than behind the messages beside which it was counted.
        """

    /// The page.
    public func html() throws -> String {
        let name = fileName(ofPath: folder.path)
        let isOfAnswers = identity["scan"]?.string == "answers"
        let subtitle = [
            identity["reference"]?.string == nil ? "the model alone" : "beside a reference",
            isOfAnswers ? identity["server"]?["url"]?.string.map { "in the answers of \($0)" } : nil,
            identity["seed"]?.int.map { "seed \($0)" }, identity["meraser_version"]?.string.map { "meraser \($0)" },
            identity["isa"]?.string,
        ]
        var parts = [
            "<h1>Scan in \(name.escapedForHTML)</h1>",
            "<p class=\"soft\">\(subtitle.compactMap { $0 }.joined(separator: " · ").escapedForHTML)</p>",
            "<h2>Is there a mark? <span class=\"\(tone(verdict).rawValue)\">\(answer.escapedForHTML)</span></h2>",
            "<p>\(sentence.escapedForHTML)</p>",
            "<p class=\"note\">\(isOfAnswers ? Self.noteOnAnswers : Self.note)</p>", methods.markup,
        ]
        for finding in findings {
            parts.append("<h2>\(finding.method.rawValue.escapedForHTML)</h2>")
            parts.append("<p>\(finding.summary.escapedForHTML)</p>")
            if !finding.candidates.isEmpty { parts.append(candidates(finding).markup) }
            if !finding.modules.isEmpty { parts.append(modules(finding).markup) }
        }
        if !keys.isEmpty {
            parts.append("<h2>Keys</h2>")
            parts.append(
                "<p class=\"note\">What was found as keys, which <code>check</code>, <code>erase</code> and "
                    + "<code>osft</code> take.</p>")
            parts.append("<pre>\(keys.joined(separator: "\n").escapedForHTML)</pre>")
        }
        let made = ["model", "reference", "data"].compactMap { name in
            identity[name]?.string.map { (name: "SHA-256 of the \(name == "data" ? "messages" : name)", value: $0) }
        }
        parts.append("<h2>Files</h2>" + PageTable.list(made))
        return HTMLPage(title: "Scan in \(name)", body: parts.joined(separator: "\n")).html()
    }
}
