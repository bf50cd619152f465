import Foundation
import Synchronization

/// Progress on standard error: a bar that is redrawn on a terminal, else a plain line every ten seconds. Thread-safe.
final class ProgressBar: Sendable {
    private struct State {
        var lastShown = ContinuousClock.now
        var isDrawn = false
    }

    private let title: String
    private let isShown: Bool
    private let isTerminal = Console.errorIsTerminal
    private let start = ContinuousClock.now
    private let state = Mutex(State())

    /// A bar of that title; nothing is shown if `isQuiet`.
    init(_ title: String, isQuiet: Bool) {
        self.title = title
        isShown = !isQuiet
    }

    /// Shows that `done` of `total` units are through; `detail` comes behind the bar.
    func update(done: Int, total: Int, detail: String = "") {
        guard isShown else { return }
        state.withLock { state in
            let now = ContinuousClock.now
            let pause: Duration = isTerminal ? .milliseconds(100) : .seconds(10)
            guard now - state.lastShown >= pause || (isTerminal && done >= total) else { return }
            state.lastShown = now
            state.isDrawn = true
            let text = line(done: done, total: max(total, 1), detail: detail, elapsed: now - start)
            if isTerminal {
                Console.errorRaw("\r\(text.prefix(Console.errorWidth - 1))\u{1B}[K")
            } else {
                Console.error(text)
            }
        }
    }

    /// Ends the bar's line on a terminal.
    func finish() {
        state.withLock { state in
            if state.isDrawn && isTerminal { Console.errorRaw("\r\u{1B}[K") }
            state.isDrawn = false
        }
    }

    private func line(done: Int, total: Int, detail: String, elapsed: Duration) -> String {
        let share = min(1, Double(done) / Double(total))
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        let remaining = share > 0 ? " ETA \(clock(seconds / share - seconds))" : ""
        let percent = "\(Int(share * 100))%"
        let behind = detail.isEmpty ? "" : " \(detail)"
        guard isTerminal else { return "\(title) \(percent)\(remaining)\(behind)" }
        let width = 16
        let filled = Int(share * Double(width))
        let bar = String(repeating: "█", count: filled) + String(repeating: "·", count: width - filled)
        return "\(title) \(bar) \(percent)\(remaining)\(behind)"
    }

    private func clock(_ seconds: Double) -> String {
        let whole = Int(min(max(seconds, 0), 359_999))
        let minutes = whole / 60 % 60
        let rest = String(format: "%02d", whole % 60)
        return whole >= 3600 ? "\(whole / 3600):\(String(format: "%02d", minutes)):\(rest)" : "\(minutes):\(rest)"
    }
}
