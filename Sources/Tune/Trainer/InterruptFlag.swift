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

    /// The signals that ask to stop: SIGINT, SIGTERM and, unless the process was started to ignore it (nohup), SIGHUP.
    public static let signals = [SIGINT, SIGTERM] + (isIgnored(SIGHUP) ? [] : [SIGHUP])

    /// The flag that `signals` set from now on. A second signal ends the process at once.
    public static func onSignals() -> InterruptFlag {
        let flag = processFlag  // made here, not first in the handler
        for number in signals {
            signal(number) { number in
                processFlag.set()
                signal(number, SIG_DFL)
            }
        }
        return flag
    }
}

/// True if that signal is ignored.
public func isIgnored(_ number: Int32) -> Bool {
    var action = sigaction()
    guard sigaction(number, nil, &action) == 0 else { return false }
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
}

// A signal handler can reach nothing but a global; it is constant and starts unset.
private let processFlag = InterruptFlag()
