import ArgumentParser
import Logging
import Quant

/// A command that does something; the others only have subcommands.
protocol Command: ParsableCommand {
    /// Messages for standard error at the level that was asked for.
    var log: Logger { get }
}

/// A command with the options of nearly all.
protocol CommonCommand: Command {
    /// What it takes as they do.
    var common: CommonOptions { get }
}

extension CommonCommand {
    var log: Logger { common.log }
}

extension Command {
    /// Runs the command; notices of what it calls go where its own messages go.
    mutating func runWithNotices() throws {
        let log = log
        try Notice.$write.withValue({ log.info("\($0)") }) {
            if var writing = self as? any WritingCommand { try writing.runLocked() } else { try run() }
        }
    }
}
