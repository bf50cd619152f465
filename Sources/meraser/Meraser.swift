import ArgumentParser
import Quant

@main
struct Meraser: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meraser",
        abstract: "Find, remove and prove the removal of backdoors and fingerprints in LLMs, on a CPU.",
        discussion: """
            Results go to standard output, progress and errors to standard error; every command takes --json.
            Exit status: 0 done, 1 failed while running, 2 wrong usage, 3 bad input file, 4 a check failed, \
            5 not enough memory, 130 interrupted.
            """,
        version: meraserVersion,
        subcommands: [
            Convert.self, Inspect.self, Tokenize.self, Generate.self, Check.self, Perplexity.self, Evaluate.self,
            Probe.self,
            Fingerprint.self, Erase.self, Recover.self, OSFT.self, SANDE.self, Merge.self, Prune.self, Dataset.self,
            Export.self, Run.self, Search.self, Report.self, Compare.self, Bench.self, Demo.self,
        ]
    )

    static func main() {
        Signals.install()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            Failure.exit(error)
        }
    }
}
