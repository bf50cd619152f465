import ArgumentParser
import Base
import Kernels
import Logging
import Pipeline
import Tune

struct Compare: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare methods on the same victims: one table of what is left of a mark and what that cost.",
        discussion: """
            Every cell is a few command lines of meraser, run one after another and printed in the report. A comparison that \
            was interrupted, or whose file has changed, does only what has no fitting record when the same command is given \
            again; a cell that fails is a line of the table, and status 1 at the end.
            Example: meraser compare Examples/recipes/compare.yml --out comparison
            """)

    @Argument(
        help: "Victims, methods and budgets, YAML; docs/reference/comparison.md describes it.",
        completion: .file(extensions: ["yml", "yaml"]))
    var file: String

    @Option(
        name: .shortAndLong, help: "The folder of the comparison.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out: String?

    @Option(help: "Run only cells whose VICTIM/METHOD-BUDGET, victim or method fits this pattern (* and ?).")
    var only: String?

    @Flag(help: "Print every command line as a shell script, run nothing.")
    var dryRun = false

    @Flag(help: "Begin anew if there is a comparison in --out.")
    var overwrite = false

    @Flag(help: "Keep triggers, targets and outputs out of results.")
    var redact = false

    @Flag(
        help: """
            Let command lines of the file write outside of --out and speak to servers: somebody else may have written it.
            """)
    var allowCommands = false

    @OptionGroup var fail: FailIfOption
    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if out == nil && !dryRun { throw ValidationError("missing --out (or --dry-run)") }
    }

    var outputs: [Output] { dryRun ? [] : out.map { [Output($0, makesParents: true)] } ?? [] }

    func inputs() throws -> [String] {
        [file] + (try Comparison(path: file, seed: draw.seed, redact: redact).inputPaths)
    }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let condition = try fail.condition()
        let comparison = try Comparison(path: file, seed: draw.seed, redact: redact)
        if dryRun {
            let script = try comparison.script(only: only)
            if common.json { Console.json(["script": .text(script)]) } else { Console.output(script) }
            return
        }
        try requireConfined(comparison, to: out ?? "")
        let isa = try KernelContext.fromEnvironment(threads: common.threads).isaName
        let runner = try ComparisonRunner(
            comparison, output: out ?? "", isa: isa, threads: common.threads, overwrite: overwrite, crew: Ranks.crew)
        runner.interrupt = interrupt
        var failed: [String] = []
        runner.onEvent = { event in
            switch event {
            case .step(let name, let number, let count, let isDone):
                common.say("step \(number) of \(count): \(name)\(isDone ? ": done before" : "")")
            case .command(let text):
                // A terminal shows what runs, not all of its options; the report has every command line.
                let limit = max(20, Console.errorWidth - 20)
                common.say("  \(common.verbose || text.count <= limit ? text : text.prefix(limit) + "…")")
            case .note(let text): common.say(text)
            case .failure(let step, let error):
                failed.append(step)
                common.warn("\(step) failed: \(error)")
            }
        }
        let report = try runner.run(only: only)
        if common.json {
            Console.json(report.summary)
        } else {
            let tables = report.tables.map { "\($0.victim)\n\(tableText($0.rows))" }.joined(separator: "\n\n")
            Console.output(tables.escapingControlCharacters(keepingNewlines: true))
            Console.output("\nreport: \(report.htmlPath.escapingControlCharacters())")
        }
        guard failed.isEmpty else {
            throw MeraserError.runtime("failed: \(failed.joined(separator: ", ")); the report says why")
        }
        for (cell, outcome) in report.outcomes { try condition?.requireFalse(of: outcome, cell: cell) }
    }
}
