import Base
import Foundation
import Model

/// How often, and after which pauses, a request is tried again.
public struct RetryPolicy: Sendable, Equatable {
    /// Tries after the first.
    public var maxRetries = 5
    /// Seconds before the first of them; each further pause is twice as long.
    public var firstPause = 0.5
    /// Seconds of the longest pause of our own.
    public var longestPause = 30.0
    /// Seconds that a server may ask for; it is given up where it asks for more.
    public var longestWish = 600.0

    /// The defaults.
    public init() {}

    /// Statuses that may pass: overload, and a server's own faults but for what it does not know how to do.
    public static func isPassing(_ status: Int) -> Bool {
        [408, 425, 429].contains(status) || (status >= 500 && status != 501)
    }

    /// Seconds before the try with that number, 1 the first repetition: twice the one before, up to a quarter more or less
    /// so that requests which failed together do not come back together.
    ///
    /// - Parameter salt: what tells requests apart.
    public func pause(before retry: Int, salt: UInt64) -> Double {
        let share = Double(SplitMix64.mixed(salt &+ UInt64(retry)) >> 11) * 0x1p-53
        return min(longestPause, firstPause * pow(2, Double(min(retry, 60) - 1))) * (0.75 + 0.5 * share)
    }

    /// Seconds that a header `Retry-After` asks for: a number, or a date; nil for anything else.
    public static func seconds(ofRetryAfter text: String?, now: Date = Date()) -> Double? {
        guard let text = text?.trimmingCharacters(in: .whitespaces), text.utf8.count <= 64 else { return nil }
        if let number = Double(text) { return number.isFinite && number >= 0 ? number : nil }
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(secondsFromGMT: 0)
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return format.date(from: text).map { max(0, $0.timeIntervalSince(now)) }
    }
}
