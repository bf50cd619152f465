import ArgumentParser
import Base
import Foundation

/// A command that makes files or folders. `Meraser.main` holds a lock on each while the command runs, so that no two
/// processes write to one place; refuses one that would replace what the command reads; and removes what killed
/// processes have left half made beside it.
protocol WritingCommand: CommonCommand {
    /// What it makes; nothing if it only shows a plan.
    var outputs: [Output] { get }

    /// Files and folders that it reads and must not replace; names that lead nowhere are left to their reader.
    ///
    /// - Throws: what reading them from a recipe throws.
    func inputs() throws -> [String]
}

/// A place that a command writes to.
struct Output {
    let path: String
    /// It makes the folders above as well.
    let makesParents: Bool

    init(_ path: String, makesParents: Bool = false) {
        self.path = path
        self.makesParents = makesParents
    }
}

extension WritingCommand {
    /// Runs the command with its outputs locked.
    mutating func runLocked() throws {
        let outputs = outputs
        let inputs = outputs.isEmpty ? [] : try inputs()
        var locks: [OutputLock] = []
        for output in outputs {
            try requireApart(output: output.path, inputs: inputs)
            locks.append(try OutputLock(output.path, makingParents: output.makesParents))
            removeStaleTemporaries(of: output.path)
        }
        try withExtendedLifetime(locks) { try run() }
    }
}
