import Base
import Foundation

/// The ranks of the job that this process was started in; nil: it was started alone.
///
/// From then on the process's exit status is the job's: 0 leaves it, any other ends all ranks with that status.
/// - Throws: a usage error if it was started by mpirun and this build has no MPI.
public func joinRanks() throws -> (any Collective)? {
    guard let count = launchedRanks(ProcessInfo.processInfo.environment), count > 1 else { return nil }
    #if MPI
        return try MPICollective()
    #else
        throw MeraserError.usage(
            "mpirun started \(count) ranks of a meraser without MPI, which would all do the same; build it with "
                + "`make build MPI=1`")
    #endif
}

#if MPI
    import CMPI

    /// Open MPI's ranks.
    private final class MPICollective: Collective {
        let rank: Int
        let size: Int
        let ranksOnHost: Int

        init() throws {
            var place = cmpi_place()
            let error = cmpi_join(&place)
            guard error == 0 else { throw MeraserError.runtime("MPI could not be started (error \(error))") }
            (rank, size, ranksOnHost) = (Int(place.rank), Int(place.size), Int(place.on_host))
        }

        func send(_ bytes: UnsafeRawBufferPointer, to rank: Int, on channel: Channel) -> any Transfer {
            MPITransfer(cmpi_send(bytes.baseAddress, Int64(bytes.count), Int32(rank), channel.rawValue))
        }

        func receive(
            into bytes: UnsafeMutableRawBufferPointer, from rank: Int, on channel: Channel
        ) -> any Transfer {
            MPITransfer(cmpi_receive(bytes.baseAddress, Int64(bytes.count), Int32(rank), channel.rawValue))
        }
    }

    private struct MPITransfer: Transfer {
        private let handle: UnsafeMutableRawPointer?

        init(_ handle: UnsafeMutableRawPointer?) { self.handle = handle }

        func wait() { cmpi_wait(handle) }
    }
#endif
