import ArgumentParser
import Base
import Foundation
import Pipeline

struct Report: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the report of a run, a removal or a search anew, or a page that compares runs.",
        discussion: """
            A run, or an `erase --auto`, need not be finished; a scan must be. \
            docs/reference/report.md says what the page shows and how its verdicts are decided.
            Example: meraser report demo-run
            Example: meraser report utf-run if-run hashchain-run --out comparison.html
            """)

    @Argument(
        help: "Folders that run, search, scan or erase --auto made; several must be of runs.", completion: .directory)
    var runs: [String]

    @Option(
        name: .shortAndLong,
        help:
            "Where the page goes: a file that ends in .html, or a folder for report.html and report.json.",
        completion: .file(extensions: ["html"]), transform: withoutTrailingSlashes)
    var out: String?

    @Flag(help: "Replace what is at --out.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if runs.count > 1 && out == nil {
            throw ValidationError("several runs are compared on a page of their own: name it with --out")
        }
    }

    var outputs: [Output] { out.map { [Output($0, makesParents: !$0.hasSuffix(".html"))] } ?? [Output(runs[0])] }

    func inputs() throws -> [String] { [] }

    func run() throws {
        if runs.count > 1 {
            let comparison = try RunComparison(folders: runs)
            let path = try write(
                try comparison.html(), comparison.json, [], isRedacted: comparison.isRedacted)
            show(comparison.json.adding(path), comparison.table, [], path)
            return
        }
        let report = try folderReport(of: runs[0])
        if out != nil {
            let path = try write(try report.html(), report.json, report.sheets, isRedacted: report.isRedacted)
            show(report.summary.adding(path), report.table, report.verdictLines, path)
        } else {
            try report.write()
            show(report.summary, report.table, report.verdictLines, report.htmlPath)
        }
    }

    /// Writes the page, and JSON and figures beside it if `--out` is a folder; gives the page's path.
    private func write(
        _ html: String, _ json: JSONValue, _ sheets: [FigureSheet], isRedacted: Bool
    ) throws -> String {
        let out = out ?? ""
        let mode = isRedacted ? 0o666 : ownerOnly
        if out.hasSuffix(".html") {
            try writeFileAtomically(path: out, Array(html.utf8), overwrite: overwrite, mode: mode)
            return out
        }
        let (page, data) = (out + "/report.html", out + "/report.json")
        for path in [page, data] + sheets.map({ "\(out)/\($0.name)" })
        where !overwrite && FileManager.default.fileExists(atPath: path) {
            throw MeraserError.usage(
                "\(path) exists; pass --overwrite to replace it or choose another --out")
        }
        // A folder that is new appears whole; in one that is there the page comes last.
        var folder: AtomicFolder?
        if !FileManager.default.fileExists(atPath: out) {
            let parent = URL(fileURLWithPath: out).deletingLastPathComponent().path
            do {
                try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
            } catch {
                throw MeraserError.runtime("cannot make the folder \(parent): \(error.localizedDescription)")
            }
            folder = try AtomicFolder(path: out, overwrite: false)
        }
        let files =
            [("report.json", json.serialized(indent: 2) + "\n")] + sheets.map { ($0.name, $0.text) }
            + [("report.html", html)]
        for (name, text) in files {
            let path = "\(folder?.temporaryPath ?? out)/\(name)"
            try writeFileAtomically(path: path, Array(text.utf8), overwrite: true, mode: mode)
        }
        try folder?.commit()
        return page
    }

    private func show(_ json: JSONValue, _ table: [[String]], _ verdict: [String], _ path: String) {
        if common.json {
            Console.json(json)
        } else {
            Console.output(reportText(table, verdict: verdict, path: path))
        }
    }
}

extension JSONValue {
    /// This object with the page's path as its member `report`.
    fileprivate func adding(_ path: String) -> JSONValue {
        let members = (object?.members ?? []).filter { $0.key != "report" }
        return .object(
            JSONObject(
                members.map { (key: $0.key.string, value: $0.value) } + [
                    (key: "report", value: .text(path))
                ]))
    }
}
