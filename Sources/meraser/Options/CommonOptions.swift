import ArgumentParser
import Base
import Kernels
import Logging
import Tune

/// What every command takes.
struct CommonOptions: ParsableArguments {
    @Flag(name: .long, help: "Print one JSON object on standard output instead of text.")
    var json = false

    @Option(
        name: .shortAndLong,
        help:
            "Threads (default: the physical cores that this process may use). Results do not depend on it."
    )
    var threads: Int?

    @Flag(name: [.short, .long], help: "Say more on standard error.")
    var verbose = false

    @Flag(name: [.short, .long], help: "Say nothing on standard error but errors.")
    var quiet = false

    func validate() throws {
        do {
            _ = try Kernels.threadCount(threads)
        } catch let error as MeraserError {
            throw ValidationError(FlagNames.spell(error.message))
        }
        if verbose && quiet { throw ValidationError("--verbose and --quiet exclude each other") }
    }

    /// `threads`, or the physical cores in reach, once it is known that there is room for them.
    var threadCount: Int { get throws { try availableThreadCount(threads) } }

    /// Messages for standard error at the level that was asked for.
    var log: Logger { standardErrorLogger(level: quiet ? .error : verbose ? .debug : .info) }

    /// Writes a warning to standard error.
    func warn(_ text: String) { log.warning("\(text)") }

    /// Writes a message to standard error unless `--quiet`.
    func say(_ text: String) { log.info("\(text)") }

    /// Ends a command that has trained: says so where the condition that was to end it never held.
    ///
    /// - Throws: a failed check if the condition was required.
    func conclude(_ result: TrainingResult) throws {
        guard let until = result.until, let notice = until.notice else { return }
        try until.require()
        warn(FlagNames.spell(notice))
    }

    /// Says that another build began the run in a folder, where this one may continue it.
    func noteBuild(of folder: String) {
        let file = folder + "/run.json"
        guard let record = try? MappedFile(path: file).withBytes({ try JSONValue.parse($0, file: file) }),
            let note = Build.current.note(continuing: Build(record: record))
        else { return }
        warn("\(folder): \(note)")
    }

    /// A progress bar that honours `--quiet`.
    func progressBar(_ title: String, unit: ProgressBar.Unit = .count) -> ProgressBar {
        ProgressBar(title, unit: unit, isQuiet: quiet)
    }
}
