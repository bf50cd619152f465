import Foundation
import Synchronization

/// A request to stop, which long work looks at between small pieces. Thread-safe, and safe to set in a signal handler.
public final class InterruptFlag: Sendable {
    private let value = Atomic<Bool>(false)

    /// A flag that is not set.
    public init() {}

    /// True once `set` was called.
    public var isSet: Bool { value.load(ordering: .relaxed) }

    /// Asks to stop.
    public func set() { value.store(true, ordering: .relaxed) }

    /// The flag that SIGINT and SIGTERM set from now on. A second signal ends the process at once.
    public static func onSignals() -> InterruptFlag {
        let flag = processFlag  // made here, not first in the handler
        for number in [SIGINT, SIGTERM] {
            signal(number) { number in
                processFlag.set()
                signal(number, SIG_DFL)
            }
        }
        return flag
    }
}

// A signal handler can reach nothing but a global; it is constant and starts unset.
private let processFlag = InterruptFlag()
