import ArgumentParser
import Base
import Kernels
import Logging

@main
struct Meraser: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meraser",
        abstract: "Find, remove and prove the removal of backdoors and fingerprints in LLMs, on a CPU.",
        discussion: """
            Results go to standard output, progress and errors to standard error; every command takes --json.
            Exit status: 0 done, 1 failed while running, 2 wrong usage, 3 bad input file, 4 a check failed, \
            5 not enough memory, 130 interrupted (SIGINT, SIGTERM or SIGHUP; training saves its state first).
            """,
        version: version,
        subcommands: [
            Convert.self, Inspect.self, Tokenize.self, Generate.self, Logits.self, Check.self, Perplexity.self,
            Evaluate.self, Probe.self, ScanCommand.self, Decoys.self, LineageCommand.self,
            Fingerprint.self, Erase.self, Recover.self, OSFT.self, SANDE.self, Merge.self, ExtractLoRA.self, Prune.self,
            Substitute.self, Dataset.self,
            Export.self, Run.self, Search.self, Report.self, Compare.self, Serve.self, Bench.self, Demo.self,
            WriteExamples.self, Cache.self,
        ]
    )

    static func main() {
        Signals.install()
        do {
            let words = Array(CommandLine.arguments.dropFirst())
            let ranks = try Ranks.join(words)
            try CommandWords.requireKnownCommand(words)
            try CommandWords.requireCurrentNames(words)
            var command = try parseAsRoot()
            try CommandWords.requireOnce(words, of: type(of: command))
            try (command as? any RemoteCommand)?.requireRemoteFlags(words)
            do {
                if let command = command as? any Command { sendLogToStandardError(level: command.log.logLevel) }
                try Ranks.$crew.withValue(try ranks.map(Ranks.crew)) {
                    if var writing = command as? any WritingCommand {
                        try writing.runLocked()
                    } else {
                        try command.run()
                    }
                }
            } catch let error as MeraserError {
                Failure.exit(error, of: type(of: command))
            }
            Console.finish()
        } catch {
            Failure.exit(error)
        }
    }

    /// Release, build, numerics, and the instruction set that would be used.
    private static var version: String {
        let isa = (try? KernelContext.fromEnvironment(threads: 1).isaName) ?? "no such MERASER_ISA"
        return "meraser \(Build.current.text), \(isa)"
    }
}
