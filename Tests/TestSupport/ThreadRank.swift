import Base
import Foundation

/// A rank that is a thread of this process: what tests have in place of MPI.
public final class ThreadRank: Collective {
    /// Its number.
    public let rank: Int
    /// The number of ranks.
    public let size: Int
    /// All of them.
    public var ranksOnHost: Int { size }
    private let mail: Mail

    private init(rank: Int, size: Int, mail: Mail) {
        (self.rank, self.size, self.mail) = (rank, size, mail)
    }

    /// The ranks of a job.
    public static func job(of size: Int) -> [ThreadRank] {
        let mail = Mail()
        return (0..<size).map { ThreadRank(rank: $0, size: size, mail: mail) }
    }

    /// Sends a copy.
    public func send(_ bytes: UnsafeRawBufferPointer, to rank: Int, on channel: Channel) -> any Transfer {
        mail.post(Array(bytes), Mail.Way(from: self.rank, to: rank, channel: channel))
        return Sent()
    }

    /// Receives when it is waited for, in the order of the waits.
    public func receive(
        into bytes: UnsafeMutableRawBufferPointer, from rank: Int, on channel: Channel
    ) -> any Transfer {
        Receipt(mail: mail, way: Mail.Way(from: rank, to: self.rank, channel: channel), target: bytes)
    }

    /// Tells the other ranks that there is no more work.
    public func dismissOthers() {
        for other in 1..<size {
            withUnsafeBytes(of: 0) { send($0, to: other, on: .messages).wait() }
        }
    }

    private struct Sent: Transfer {
        func wait() {}
    }

    private struct Receipt: Transfer {
        let mail: Mail
        let way: Mail.Way
        let target: UnsafeMutableRawBufferPointer

        func wait() {
            let bytes = mail.take(way)
            precondition(bytes.count == target.count, "\(bytes.count) bytes came, \(target.count) were expected")
            target.copyBytes(from: bytes)
        }
    }
}

/// What is on its way between the ranks of a job (unchecked: the condition guards it).
private final class Mail: @unchecked Sendable {
    struct Way: Hashable {
        let from: Int
        let to: Int
        let channel: Channel
    }

    private let condition = NSCondition()
    private var letters: [Way: [[UInt8]]] = [:]

    func post(_ bytes: [UInt8], _ way: Way) {
        condition.lock()
        letters[way, default: []].append(bytes)
        condition.broadcast()
        condition.unlock()
    }

    func take(_ way: Way) -> [UInt8] {
        condition.lock()
        defer { condition.unlock() }
        while letters[way]?.isEmpty ?? true { condition.wait() }
        return letters[way]?.removeFirst() ?? []
    }
}
