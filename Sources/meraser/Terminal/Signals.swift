import Base
import CAllocation
import Foundation
import Synchronization
import Tune

/// What signals do unless a command saves its state first (`InterruptFlag`), and what a lack of memory does.
enum Signals {
    /// True if the process was started with SIGPIPE ignored: then a pipe that nobody reads is an error like any other.
    static let pipeWasIgnored = isIgnored(SIGPIPE)

    /// Several threads may touch what a file has lost; one says so.
    private static let hasToldLoss = Atomic(false)

    /// Installs the handlers; called once, before anything else.
    static func install() {
        openStandardStreams()
        // Writing to a pipe that nobody reads is an error to `Console`, which decides.
        _ = pipeWasIgnored
        signal(SIGPIPE, SIG_IGN)
        // A file at the limit of its size (ulimit -f) is then an error of `write`, with its one line.
        signal(SIGXFSZ, SIG_IGN)
        // A parent's thread may hand over a mask that blocks them.
        var mask = sigset_t()
        sigemptyset(&mask)
        for number in InterruptFlag.signals {
            signal(number) { _ in _exit(130) }
            sigaddset(&mask, number)
        }
        pthread_sigmask(SIG_UNBLOCK, &mask, nil)
        // A mapped file that another program has shortened; nothing can be computed any more. The flag is made here, not there.
        _ = hasToldLoss.load(ordering: .relaxed)
        signal(SIGBUS) { _ in
            if Signals.hasToldLoss.exchange(true, ordering: .relaxed) {
                while true { pause() }
            }
            let text: StaticString = "meraser: error: an input file became shorter while it was in use\n"
            _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
            _exit(3)
        }
        let prefix: StaticString = "meraser: error: "
        prefix.withUTF8Buffer {
            // A static string lives as long as the process.
            $0.withMemoryRebound(to: CChar.self) {
                allocation_failure_ends_process($0.baseAddress, MeraserError.Kind.outOfMemory.rawValue)
            }
        }
    }

    /// Fills the place of a standard stream that was closed, or the first file that is opened would be taken for it. The
    /// streams are opened the wrong way round, so that using one is still an error.
    private static func openStandardStreams() {
        for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)]
        where fcntl(descriptor, F_GETFD) < 0 {
            _ = open("/dev/null", mode)
        }
    }
}
