import Foundation
import Synchronization

/// What signals do. SIGINT and SIGTERM end the process with 130 at once, or, in commands that save their state first, are
/// noted and asked for; a second one ends it at once there too.
enum Signals {
    private static let isWatching = Atomic<Bool>(false)
    private static let wasInterrupted = Atomic<Bool>(false)

    /// Installs the handlers; called once, before anything else.
    static func install() {
        // Forces both flags into being before a handler can touch them.
        _ = isInterrupted || isWatching.load(ordering: .relaxed)
        signal(SIGPIPE, SIG_IGN)
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in
                if !Signals.note() { _exit(130) }
            }
        }
        // A mapped file that another program has shortened; nothing can be computed any more.
        signal(SIGBUS) { _ in
            let text: StaticString = "meraser: error: an input file became shorter while it was in use\n"
            _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
            _exit(3)
        }
    }

    /// From now on the first SIGINT or SIGTERM only sets `isInterrupted`.
    static func watchInterruption() { isWatching.store(true, ordering: .relaxed) }

    /// Called by the handler: true if the command will stop by itself.
    private static func note() -> Bool {
        isWatching.load(ordering: .relaxed) && !wasInterrupted.exchange(true, ordering: .relaxed)
    }

    /// True once SIGINT or SIGTERM came, in a command that watches.
    static var isInterrupted: Bool { wasInterrupted.load(ordering: .relaxed) }
}
