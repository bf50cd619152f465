import ArgumentParser
import Base
import Foundation
import Kernels
import Pipeline
import Tune

struct Run: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a recipe: check, erase, check, recover, check, report.",
        discussion: """
            A run that was interrupted continues where it stopped when the same command is given again.
            Example: meraser run Examples/recipes/demo.yml --out demo-run

            With --verify the run is repeated in a temporary folder and compared with a report of it: hashes of all that
            went in, and every figure. What differs is said; then the status is 4.
            """)

    @Argument(
        help: "The recipe, YAML; docs/reference/recipes.md describes it.",
        completion: .file(extensions: ["yml", "yaml"]))
    var recipe: String

    @Option(
        name: .shortAndLong, help: "The folder of the run.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out: String?

    @Option(
        help: "Repeat the run of that report.json (or the folder that has it) and compare, in place of --out.",
        completion: .file(extensions: ["json"]))
    var verify: String?

    @Flag(help: "Begin anew if there is a run in --out.")
    var overwrite = false

    @Flag(help: "Keep the recipe, triggers, targets and outputs out of records and report.")
    var redact = false

    @OptionGroup var fail: FailIfOption
    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { out.map { [Output($0, makesParents: true)] } ?? [] }

    func validate() throws {
        guard verify != nil else {
            if out == nil { throw ValidationError("Missing expected argument '--out <out>'") }
            return
        }
        for (flag, isGiven) in [
            ("--out", out != nil), ("--overwrite", overwrite), ("--redact", redact), ("--seed", draw.seed != nil),
            ("--fail-if", fail.failIf != nil),
        ] where isGiven {
            throw ValidationError("\(flag) is not used with --verify: the report says how the run was")
        }
    }

    func inputs() throws -> [String] { try Recipe(path: recipe, seed: draw.seed).inputs }

    func run() throws {
        guard let out else { return try repeated() }
        let condition = try fail.condition()
        let report = try RunDisplay(common).run(
            recipe: try Recipe(path: recipe, seed: draw.seed), output: out, overwrite: overwrite, redact: redact)
        try RunDisplay(common).conclude(report, failIf: condition)
    }

    /// Runs anew what the report is of, and compares.
    private func repeated() throws {
        let recorded = try RepeatedRun(report: verify ?? "")
        let recipe = try Recipe(path: recipe, seed: recorded.seed)
        try recorded.require(recipe)
        let folder = FileManager.default.temporaryDirectory.path + "/meraser-verify-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let report = try RunDisplay(common).run(
            recipe: recipe, output: folder, overwrite: false, redact: recorded.isRedacted)
        let (values, differences) = recorded.compared(with: report)
        if common.json {
            Console.json([
                "report": .text(recorded.file), "values": .integer(values),
                "differences": .array(differences.map(\.json)),
            ])
        } else {
            let shown = differences.prefix(Self.shownDifferences).map(\.line)
            let rest = differences.count - shown.count
            Console.output(
                (shown + (rest > 0 ? ["and \(rest) more"] : []) + [
                    "\(values) values compared, \(differences.count) differ"
                ])
                .joined(separator: "\n").escapingControlCharacters(keepingNewlines: true))
        }
        guard differences.isEmpty else {
            throw MeraserError(
                .checkFailed, "\(recorded.file): \(differences.count) of \(values) values are not repeated")
        }
    }

    /// On a terminal; `--json` has them all.
    private static let shownDifferences = 20
}
