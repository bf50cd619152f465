import Synchronization

/// What rank 0 has in the other ranks: it sends them jobs and knows what they keep. Used by one thread at a time.
public final class Crew: Sendable {
    /// How they are reached.
    public let collective: any Collective
    private let state = Mutex((kept: [String: String](), failure: MeraserError?.none))

    /// The crew of a job's rank 0.
    public init(_ collective: any Collective) {
        precondition(collective.rank == 0)
        self.collective = collective
    }

    /// Ranks, this one included.
    public var size: Int { collective.size }
    /// Numbers of the others.
    public var others: Range<Int> { 1..<size }

    /// Sends a job to one of the others.
    ///
    /// - Throws: what an earlier job failed with: then nobody knows what the others are doing.
    public func send(_ job: Message, to rank: Int) throws {
        if let failure { throw failure }
        collective.send(job, to: rank)
    }

    /// Sends a job to all others.
    public func send(_ job: Message) throws {
        for rank in others { try send(job, to: rank) }
    }

    /// The answer of one of the others.
    public func answer(of rank: Int) throws -> MessageReader {
        guard let answer = try collective.receiveMessage(from: rank) else {
            throw MeraserError.runtime("rank \(rank) gave an empty answer")
        }
        return answer
    }

    /// Has all others keep something under a name, in place of what they kept there, unless they have that version of it.
    public func provide(_ name: String, version: String, _ job: () throws -> Message) throws {
        guard state.withLock({ $0.kept[name] }) != version else { return }
        try send(try job())
        state.withLock { $0.kept[name] = version }
    }

    /// What a job failed with in the middle; nil: none did.
    public var failure: MeraserError? { state.withLock { $0.failure } }

    /// Notes that a job was left in the middle: every later one fails with the same error.
    public func fail(_ error: any Error) {
        let error = error as? MeraserError ?? MeraserError.runtime("\(error)")
        state.withLock { $0.failure = $0.failure ?? error }
    }

    /// Deals pieces of work of those costs to the ranks, so that the dearest share is not much dearer than the others: the
    /// dearest piece first, each to the rank with the least so far. For each rank the numbers of its pieces, ascending.
    public func deal(costs: [Int]) -> [[Int]] {
        var shares = [[Int]](repeating: [], count: size)
        var sums = [Int](repeating: 0, count: size)
        for piece in costs.indices.sorted(by: { (costs[$1], $0) < (costs[$0], $1) }) {
            let rank = sums.indices.min { (sums[$0], $0) < (sums[$1], $1) } ?? 0
            shares[rank].append(piece)
            sums[rank] += max(1, costs[piece])
        }
        return shares.map { $0.sorted() }
    }
}

/// What a job asks a rank to do; the first word of its message.
public enum Job: String, Sendable {
    /// Say what you are.
    case introduce
    /// Open this model, unless you have it.
    case model
    /// Keep this adapter.
    case adapter
    /// Answer these questions to a model.
    case answer
    /// Make ready for the shards of a training.
    case train
    /// Say what you would need for it.
    case plan
    /// Compute these shards of a step.
    case step
    /// Run this command line.
    case run
}

extension Message {
    /// A message that begins with what is to be done.
    public init(_ job: Job) {
        self.init()
        append(job.rawValue)
    }
}

extension MessageReader {
    /// What is to be done.
    public mutating func job() throws -> Job {
        let word = try text()
        guard let job = Job(rawValue: word) else {
            throw MeraserError.runtime("rank 0 asks for \(quoted(word)), which this rank does not know")
        }
        return job
    }
}
