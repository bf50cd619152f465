import Base
import Foundation
import Synchronization

/// Progress on standard error: a bar that is redrawn on a terminal, else a plain line every ten seconds. Thread-safe.
final class ProgressBar: Sendable {
    /// What is counted.
    enum Unit {
        case count
        case bytes
    }

    private struct State {
        var lastShown = ContinuousClock.now
        var isDrawn = false
        /// Where it stood when it was first asked: what came before, by another session perhaps, says nothing of the pace.
        var first: (done: Int, time: ContinuousClock.Instant)?
    }

    private let title: String
    private let unit: Unit
    private let isShown: Bool
    private let isTerminal = Console.errorIsTerminal
    private let state = Mutex(State())

    /// A bar of that title; nothing is shown if `isQuiet`.
    init(_ title: String, unit: Unit = .count, isQuiet: Bool) {
        self.title = title
        self.unit = unit
        isShown = !isQuiet
    }

    /// Shows that `done` of `total` units are through; `detail` comes behind the bar.
    ///
    /// - Parameter secondsLeft: what the rest takes, where somebody knows it better than the pace since the first call.
    func update(done: Int, total: Int, detail: String = "", secondsLeft: Double? = nil) {
        guard isShown else { return }
        state.withLock { state in
            let now = ContinuousClock.now
            let first = state.first ?? (done, now)
            state.first = first
            let pause: Duration = isTerminal ? .milliseconds(100) : .seconds(10)
            guard now - state.lastShown >= pause || (isTerminal && done >= total) else { return }
            state.lastShown = now
            state.isDrawn = true
            let pace = Self.secondsLeft(
                first: first.done, done: done, total: total, seconds: (now - first.time).inSeconds)
            let text = line(done: done, total: total, detail: detail, secondsLeft: secondsLeft ?? pace)
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

    /// What the rest takes at the pace since `first` units were through, `seconds` ago; nil: nothing has been done since.
    static func secondsLeft(first: Int, done: Int, total: Int, seconds: Double) -> Double? {
        done > first ? seconds / Double(done - first) * Double(max(0, total - done)) : nil
    }

    private func line(done: Int, total: Int, detail: String, secondsLeft: Double?) -> String {
        let share = total > 0 ? min(1, max(0, Double(done) / Double(total))) : 1
        let counts = unit == .bytes ? "\(byteText(done))/\(byteText(total))" : "\(done)/\(total)"
        let width = 16
        let filled = Int(share * Double(width))
        let bar = String(repeating: "█", count: filled) + String(repeating: "·", count: width - filled)
        let parts = [
            title, isTerminal ? bar : nil, counts, "\(Int(share * 100))%",
            secondsLeft.map { "ETA \(clock($0))" },
            detail.isEmpty ? nil : detail,
        ]
        return parts.compactMap { $0 }.joined(separator: " ")
    }

    private func clock(_ seconds: Double) -> String {
        let whole = Int(min(max(seconds, 0), 359_999).rounded())
        let minutes = whole / 60 % 60
        let rest = String(format: "%02d", whole % 60)
        return whole >= 3600 ? "\(whole / 3600):\(String(format: "%02d", minutes)):\(rest)" : "\(minutes):\(rest)"
    }
}
