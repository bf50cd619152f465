import ArgumentParser

/// A span of time as people write it: `90s`, `30m`, `2h`, or seconds.
struct TimeSpan: ExpressibleByArgument, CustomStringConvertible {
    /// Seconds, at least 1.
    let seconds: Double

    init?(argument: String) {
        var text = argument.lowercased()[...]
        var factor = 1.0
        switch text.last {
        case "s": text.removeLast()
        case "m": (factor, _) = (60, text.removeLast())
        case "h": (factor, _) = (3600, text.removeLast())
        default: break
        }
        guard let number = Double(text), number.isFinite, number * factor >= 1 else { return nil }
        seconds = number * factor
    }

    var description: String { "\(seconds)s" }
}
