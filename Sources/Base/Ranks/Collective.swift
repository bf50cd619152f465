/// The ranks of a job: processes, on one machine or on several, that work on one command together.
///
/// Rank 0 runs the command; the others do what it sends them. Used by one thread at a time.
public protocol Collective: AnyObject, Sendable {
    /// This process's number, from 0.
    var rank: Int { get }
    /// The number of ranks.
    var size: Int { get }
    /// Ranks on this host, this one included: they share its memory.
    var ranksOnHost: Int { get }

    /// Starts to send bytes, which must stay as they are until the transfer is done. Those of one channel arrive in order.
    func send(_ bytes: UnsafeRawBufferPointer, to rank: Int, on channel: Channel) -> any Transfer

    /// Starts to receive as many bytes as there is room for; the memory must stay until the transfer is done.
    func receive(into bytes: UnsafeMutableRawBufferPointer, from rank: Int, on channel: Channel) -> any Transfer
}

/// What bytes between two ranks belong to.
public enum Channel: Int32, Sendable {
    /// Jobs and answers: a length, and as many bytes; length 0 dismisses a rank.
    case messages
    /// Parameters on their way to every rank.
    case parameters
    /// Gradients that are being summed.
    case sums
}

/// Bytes on their way.
public protocol Transfer {
    /// Returns when they have left, or have come. Called once.
    func wait()
}

extension Collective {
    /// The most bytes of a message: far above a batch or an adapter, far below what a broken length could ask for.
    private static var maximumMessage: Int { 1 << 34 }

    /// Sends a message and waits until it has left.
    public func send(_ message: Message, to rank: Int) {
        withUnsafeBytes(of: message.bytes.count) { send($0, to: rank, on: .messages).wait() }
        message.bytes.withUnsafeBytes { send($0, to: rank, on: .messages).wait() }
    }

    /// Waits for a message; nil: rank 0 has no more work.
    ///
    /// - Throws: a runtime error for a length that no message has.
    public func receiveMessage(from rank: Int) throws -> MessageReader? {
        var count = 0
        withUnsafeMutableBytes(of: &count) { receive(into: $0, from: rank, on: .messages).wait() }
        if count == 0 { return nil }
        guard (1...Self.maximumMessage).contains(count) else {
            throw MeraserError.runtime("rank \(rank) announced a message of \(count) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { receive(into: $0, from: rank, on: .messages).wait() }
        return MessageReader(bytes)
    }
}
