import Audit
import Base

/// The page of a search, made from its `search.json`: the frontier of removal against perplexity, every trial, the commands.
struct SearchPage: FolderReport {
    let json: JSONValue
    let htmlPath: String
    private let folder: RunFolder
    private let identity: JSONValue
    private let trials: [Trial]
    /// The model with its mark, and without it.
    private let marked: Figures
    private let reference: Figures?

    /// What was measured of a model.
    private struct Figures {
        let hits: Int
        let n: Int
        let prefixMatch: Double?
        let targetNLL: Double?
        let ppl: Double?

        init(_ value: JSONValue, _ file: String) throws {
            (hits, n) = (try value.int("hits", in: file), try value.int("n", in: file))
            guard n > 0, (0...n).contains(hits) else {
                throw MeraserError.badInput("\(file): \(hits) hits of \(n) pairs cannot be")
            }
            prefixMatch = try value.doubleIfPresent("prefix_match_mean", in: file)
            targetNLL = try value.doubleIfPresent("target_nll_mean", in: file)
            ppl = try value.doubleIfPresent("ppl", in: file)
        }

        /// The cells of the table that every model has.
        var cells: [PageTable.Cell] {
            func fixed(_ value: Double?, _ digits: Int) -> PageTable.Cell {
                value.map { PageTable.Cell(Pipeline.Figures.number($0, digits), key: $0) } ?? .missing
            }
            return [
                PageTable.Cell("\(hits)/\(n)", key: Double(hits) / Double(n)), fixed(prefixMatch, 2),
                fixed(targetNLL, 2),
                fixed(ppl, 3),
            ]
        }
    }

    /// A dose that was tried.
    private struct Trial {
        let name: String
        let rung: Int
        let dose: String
        let steps: String
        let seconds: Double?
        let isOnFrontier: Bool
        let commands: [String]
        let figures: Figures

        init(_ value: JSONValue, _ file: String) throws {
            name = try value.string("name", in: file)
            rung = try value.int("rung", in: file)
            dose =
                JSONValue.object(try value.object("configuration", in: file)).object?.members.map {
                    "\($0.key.string) \($0.value.string ?? $0.value.serialized())"
                }.joined(separator: ", ") ?? ""
            steps = "\(try value.int("erase_steps", in: file)) + \(try value.int("recover_steps", in: file))"
            seconds = try value.doubleIfPresent("seconds", in: file)
            isOnFrontier = try value.bool("on_frontier", in: file)
            commands = try value.array("commands", in: file).compactMap(\.string)
            figures = try Figures(value, file)
        }
    }

    static let jsonName = "search.json"

    /// Reads a search that has ended, and writes nothing.
    ///
    /// - Throws: a bad-input error that names the file which is missing or damaged.
    init(_ folder: RunFolder) throws {
        self.folder = folder
        htmlPath = folder.file("report.html")
        identity = try folder.identity()
        let file = folder.file(Self.jsonName)
        json = try folder.read(Self.jsonName)
        trials = try json.array("trials", in: file).map { try Trial($0, file) }
        marked = try Figures(JSONValue.object(try json.object("marked", in: file)), file)
        reference = try json.objectIfPresent("reference", in: file).map { try Figures(.object($0), file) }
    }

    var isRedacted: Bool { false }

    var summary: JSONValue {
        ["frontier": json["frontier"] ?? .null, "trials": .integer(trials.count), "report": .text(htmlPath)]
    }

    var verdictLines: [String] { [] }

    var table: [[String]] { figures.texts }

    var sheets: [FigureSheet] {
        let names = [
            "name", "rung", "erase_steps", "recover_steps", "fsr", "hits", "n", "prefix_match_mean", "target_nll_mean",
            "ppl", "seconds", "on_frontier",
        ]
        let options =
            trials.isEmpty ? [] : json["trials"]?.array?.first?["configuration"]?.object?.members.map(\.key.string)
        let rows = (json["trials"]?.array ?? []).map { trial in
            names.map { trial[$0] ?? .null } + (options ?? []).map { trial["configuration"]?[$0] ?? .null }
        }
        return [FigureSheet("figures.csv", columns: names + (options ?? []), rows: rows)]
    }

    func write() throws {
        try folder.write(try html(), to: "report.html")
        for sheet in sheets { try folder.write(sheet.text, to: sheet.name) }
    }

    // MARK: Page

    func html() throws -> String {
        let name = fileName(ofPath: folder.path)
        let subtitle = [
            identity["model"]?.string, identity["seed"]?.int.map { "seed \($0)" },
            identity["meraser_version"]?.string.map { "meraser \($0)" }, identity["isa"]?.string,
        ]
        let frontier = trials.filter(\.isOnFrontier)
        let commands = frontier.map { trial in
            "<details><summary>\(trial.name.escapedForHTML): \(trial.dose.escapedForHTML)</summary><pre>"
                + trial.commands.joined(separator: "\n").escapedForHTML + "</pre></details>"
        }
        let parts = [
            "<h1>Search in \(name.escapedForHTML)</h1>",
            "<p class=\"soft\">\(subtitle.compactMap { $0 }.joined(separator: " · ").escapedForHTML)</p>",
            "<h2>The frontier</h2>",
            """
            <p class="soft">\(frontier.count) of \(trials.count) trials are beaten by no other in target NLL, FSR and perplexity \
            together. Each was erased and recovered; what is shown was measured after recovery.</p>
            """,
            "<div class=\"charts\">\(charts.map { $0.figure() }.joined())</div>", figures.markup,
            """
            <p class="note">★: on the frontier. Fires: triggers that bring out the target. NLL: nats a token that the target costs \
            after its trigger; more than it costs the reference, the model without the mark, is no gain. Steps: of erasing and of \
            recovering. A rung is a share of the steps; the best of each go on to the next.</p>
            """,
            "<h2>Commands</h2>", "<p class=\"note\">They train the adapters of the frontier again.</p>",
        ]
        let plan = identity["recipe"]?.string.map { "<h2>Recipe</h2><pre>\($0.escapedForHTML)</pre>" }
        let body = (parts + commands + [plan ?? ""]).joined(separator: "\n")
        return HTMLPage(title: "Search in \(name)", body: body, script: .sorting).html()
    }

    private var figures: PageTable {
        let columns = [
            PageTable.Column("trial"), .init("fires"), .init("prefix match"), .init("target NLL"), .init("perplexity"),
            .init("steps"), .init("seconds"), .init("dose", isText: true),
        ]
        func row(_ name: String, _ figures: Figures, _ rest: [PageTable.Cell]) -> [PageTable.Cell] {
            [PageTable.Cell(name)] + figures.cells + rest
        }
        let fixed = [reference.map { ("reference", $0) }, ("marked", marked)].compactMap { $0 }.map { name, figures in
            row(name, figures, [.missing, .missing, .missing])
        }
        let tried = trials.map { trial -> [PageTable.Cell] in
            var cells = row(
                trial.name, trial.figures,
                [
                    PageTable.Cell(trial.steps),
                    trial.seconds.map { PageTable.Cell(Pipeline.Figures.number($0, 1), key: $0) } ?? .missing,
                    PageTable.Cell(trial.dose),
                ])
            cells[0].isBest = trial.isOnFrontier
            return cells
        }
        return PageTable(columns: columns, rows: fixed + tried, isSortable: true)
    }

    /// Target NLL and FSR against perplexity: the frontier as a line, what it beats as points.
    private var charts: [Chart] {
        func chart(
            _ title: String, _ y: Chart.Axis, _ value: (Figures) -> Double?, guide: Double?
        ) -> Chart {
            func points(_ trials: [Trial], areNamed: Bool) -> [Chart.Point] {
                trials.compactMap { trial in
                    guard let x = trial.figures.ppl, let y = value(trial.figures) else { return nil }
                    return Chart.Point(x, y, label: areNamed ? trial.name : nil)
                }.sorted { $0.x < $1.x }
            }
            func single(_ name: String, _ figures: Figures?) -> Chart.Series {
                let point = figures.flatMap { figures in
                    figures.ppl.flatMap { x in value(figures).map { Chart.Point(x, $0, label: name) } }
                }
                return Chart.Series(name, [point].compactMap { $0 }, mark: .points)
            }
            return Chart(
                title: title, x: Chart.Axis("perplexity"), y: y,
                series: [
                    Chart.Series("frontier", points(trials.filter(\.isOnFrontier), areNamed: true)),
                    Chart.Series("beaten", points(trials.filter { !$0.isOnFrontier }, areNamed: false), mark: .points),
                    single("marked", marked), single("reference", reference),
                ], guides: guide.map { [Chart.Guide(name: "reference", y: $0)] } ?? [])
        }
        return [
            chart("Target NLL against perplexity", RunCharts.nll, \.targetNLL, guide: reference?.targetNLL),
            chart(
                "FSR against perplexity", RunCharts.fsr, { Double($0.hits) / Double($0.n) },
                guide: reference.map { Double($0.hits) / Double($0.n) }),
        ].filter { !$0.drawable.isEmpty }
    }
}
