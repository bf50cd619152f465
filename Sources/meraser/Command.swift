import ArgumentParser
import Logging

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
