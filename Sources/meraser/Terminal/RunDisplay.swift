import Audit
import Base
import Kernels
import Pipeline
import Tune

/// Runs a recipe with its stages shown on standard error.
struct RunDisplay {
    private let common: CommonOptions

    init(_ common: CommonOptions) { self.common = common }

    /// Runs a recipe to its end, or continues it.
    func run(recipe: Recipe, output: String, overwrite: Bool, redact: Bool = false) throws -> RunReport {
        let kernels = try KernelContext.fromEnvironment(threads: common.threads, crew: Ranks.crew)
        if !overwrite { common.noteBuild(of: output) }
        let runner = try Runner(
            recipe: recipe, output: output, kernels: kernels, redact: redact, overwrite: overwrite)
        runner.interrupt = InterruptFlag.onSignals()
        let display = TrainingDisplay(common)
        runner.onEvent = { event in
            display.finish()
            switch event {
            case .stage(let name, let isDone):
                display.title = "\(name)"
                common.say("\(name)\(isDone ? ": done before" : "")")
            case .warning(let text): common.warn(text)
            case .note(let text): common.say(text)
            case .training(let trainer): display.follow(trainer)
            case .cell(let cell, let number, let count): common.say("cell \(number) of \(count): \(cell)")
            }
        }
        return try runner.run()
    }

    /// Prints what came of it.
    ///
    /// - Throws: a failed check if the condition holds of the last model.
    func conclude(_ report: RunReport, failIf condition: Condition?) throws {
        if common.json {
            Console.json(report.summary)
        } else {
            Console.output(reportText(report.table, verdict: report.verdictLines, path: report.htmlPath))
        }
        try condition?.requireFalse(of: report.outcome)
    }
}

/// A report for a terminal: its table, the verdicts, where the page is.
func reportText(_ table: [[String]], verdict: [String], path: String) -> String {
    let parts = [tableText(table), verdict.map { wrapped($0) }.joined(separator: "\n"), "report: \(path)"].filter {
        !$0.isEmpty
    }
    return parts.joined(separator: "\n\n").escapingControlCharacters(keepingNewlines: true)
}
