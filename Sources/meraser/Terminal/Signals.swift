import CAllocation
import Foundation
import Quant

/// What signals do unless a command saves its state first (`InterruptFlag`), and what a lack of memory does.
enum Signals {
    /// Installs the handlers; called once, before anything else.
    static func install() {
        // Writing to a pipe that nobody reads is an error to `Console`, which drops it.
        signal(SIGPIPE, SIG_IGN)
        // A file at the limit of its size (ulimit -f) is then an error of `write`, with its one line.
        signal(SIGXFSZ, SIG_IGN)
        // A parent's thread may hand over a mask that blocks them.
        var mask = sigset_t()
        sigemptyset(&mask)
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in _exit(130) }
            sigaddset(&mask, number)
        }
        pthread_sigmask(SIG_UNBLOCK, &mask, nil)
        // A mapped file that another program has shortened; nothing can be computed any more.
        signal(SIGBUS) { _ in
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
}
