import Base
import Kernels

/// What a rank of a training has and needs.
public struct RankPlan: Sendable, Equatable, Sent {
    /// Its number.
    public let rank: Int
    /// Its host's name.
    public let host: String
    /// Threads of its kernels.
    public let threads: Int
    /// Bytes that it needs.
    public let bytes: Int
    /// Bytes that it may take.
    public let limit: Int

    init(rank: Int, host: String, threads: Int, bytes: Int, limit: Int) {
        (self.rank, self.host, self.threads) = (rank, host, threads)
        (self.bytes, self.limit) = (bytes, limit)
    }

    /// As a line of the plan.
    public var line: String {
        "rank \(rank)".padding(to: 22) + "\(host), \(threads) threads, memory \(byteText(bytes)) of \(byteText(limit))"
    }

    /// For `--dry-run --json`.
    public var json: JSONValue {
        [
            "rank": .integer(rank), "host": .text(host), "threads": .integer(threads), "total_bytes": .integer(bytes),
            "limit_bytes": .integer(limit),
        ]
    }

    /// Reads one.
    public init(from message: inout MessageReader) throws {
        (rank, host, threads) = (try message.number(), try message.text(), try message.number())
        (bytes, limit) = (try message.number(), try message.number())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(number: rank)
        message.append(host)
        message.append(number: threads)
        message.append(number: bytes)
        message.append(number: limit)
    }
}

extension String {
    fileprivate func padding(to count: Int) -> String {
        self + String(repeating: " ", count: max(0, count - self.count))
    }
}
