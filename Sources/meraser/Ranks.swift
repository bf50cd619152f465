import ArgumentParser
import Base
import Cluster
import Foundation
import Kernels
import Pipeline
import Tune

/// The ranks of the job that this process was started in by mpirun.
enum Ranks {
    /// Those besides rank 0, while it runs a command; nil: this process is alone. Bound for the run of a command, so that no
    /// command has to hand it on.
    @TaskLocal static var crew: Crew?

    /// Joins the others. On a rank other than 0 this does not return: it works for rank 0.
    ///
    /// - Throws: a usage error for a build without MPI.
    static func join(_ words: [String]) throws -> (any Collective)? {
        guard let collective = try joinRanks() else { return nil }
        if collective.rank == 0 { return collective }
        let interrupt = InterruptFlag.onSignals()
        do {
            let threads = ((try? Meraser.parseAsRoot(words)) as? any CommonCommand)?.common.threads
            try RankWorker(collective, threads: threads, interrupt: interrupt).serve()
        } catch {
            let error = error as? MeraserError ?? MeraserError.runtime("\(error)")
            Failure.exit(
                MeraserError(
                    error.kind,
                    "rank \(collective.rank) on \(ProcessInfo.processInfo.hostName): \(error.message)"))
        }
        exit(0)
    }

    /// Rank 0's hold on the others, once it is known that they compute as it does.
    static func crew(_ collective: any Collective) throws -> Crew {
        let crew = Crew(collective)
        try crew.requireAlike(isa: try KernelContext.fromEnvironment(threads: 1).isaName)
        return crew
    }
}
