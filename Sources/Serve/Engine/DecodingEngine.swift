import Base
import Foundation
import HTTPTypes
import Model
import Pipeline
import Synchronization

/// Decodes what is submitted, all of a model's sequences in one batch, on a thread of its own. Thread-safe.
///
/// Sequences come and go between forward passes; each gets the tokens that it would get alone.
public final class DecodingEngine: Sendable {
    /// How much an engine takes on.
    public struct Limits: Sendable {
        /// Sequences that are decoded together, for all models.
        public var parallel: Int
        /// Sequences that may wait for a place.
        public var queue: Int
        /// Seconds from its submission after which a sequence is ended.
        public var timeout: Double

        /// Bytes of keys and values that those sequences may grow to.
        public var cacheBytes: Int

        /// Limits.
        public init(parallel: Int = 32, queue: Int = 256, timeout: Double = 600, cacheBytes: Int = 4 << 30) {
            (self.parallel, self.queue, self.timeout) = (parallel, queue, timeout)
            self.cacheBytes = cacheBytes
        }
    }

    /// Why a sequence ended.
    enum Ending: Sendable, Equatable {
        /// As it should.
        case finished(Generation.Ending)
        /// Its time was up.
        case timedOut
        /// The server stops.
        case stopped
        /// The model gave no numbers.
        case failed(MeraserError)
    }

    /// What a sequence's reader is told, in this order for each token: its prediction where one was asked for, the token.
    enum Event: Sendable, Equatable {
        case prediction(TokenPrediction)
        case token(Int32)
        case ended(Ending)
    }

    /// A sequence that is waited for; letting go of its events takes it out of the engine.
    typealias Events = AsyncStream<Event>

    /// What it is doing.
    struct Load: Sendable, Equatable {
        var active = 0
        var waiting = 0
        var promptTokens = 0
        var sharedTokens = 0
        var newTokens = 0
    }

    private struct Inbox {
        var arrivals: [EngineSequence] = []
        var departures: [Int] = []
        var nextID = 0
        var isStopping = false
        var load = Load()
    }

    private let limits: Limits
    private let model: Transformer?
    private let inbox = Mutex(Inbox())
    private let bell = DispatchSemaphore(value: 0)
    private let hasEnded = DispatchSemaphore(value: 0)

    /// Starts an engine for those models, which it takes over: nobody else uses them from here on.
    public init(_ models: [OpenedModel], limits: Limits) {
        self.limits = limits
        model = models.first?.transformer
        let handover = Handover(models.map { $0.session() })
        let thread = Thread { [self] in
            var worker = EngineWorker(sessions: handover.value, limits: limits)
            while let news = next(isIdle: worker.isIdle) {
                worker.turn(news) { load in inbox.withLock { $0.load = load } }
            }
            worker.stop()
            hasEnded.signal()
        }
        thread.name = "meraser-decode"
        thread.stackSize = 8 << 20
        thread.start()
    }

    /// Submits sequences of a model, all or none.
    ///
    /// - Parameter top: how many of the likeliest tokens a prediction names.
    /// - Throws: status 429 if so many more may not wait, 503 if the engine stops, 400 for one that never fits into memory.
    func submit(_ requests: [DecodingRequest], model: Int, top: Int = 0) throws -> [Events] {
        let deadline = ContinuousClock.now + .seconds(limits.timeout)
        let sizes = requests.map { cacheBytes(of: $0) }
        if let largest = sizes.max(), largest > limits.cacheBytes {
            throw APIError(
                .badRequest,
                "an answer of that length needs \(largest >> 20) MiB of keys and values, of \(limits.cacheBytes >> 20); ask for "
                    + "fewer tokens", code: "memory")
        }
        let events = try inbox.withLock { inbox in
            guard !inbox.isStopping else { throw APIError(.serviceUnavailable, "the server is stopping") }
            let places = max(0, limits.parallel - inbox.load.active) + limits.queue
            guard inbox.load.waiting + inbox.arrivals.count + requests.count <= places else {
                throw APIError(
                    .tooManyRequests,
                    "\(inbox.load.waiting + inbox.arrivals.count) sequences wait already, at most \(limits.queue) may; "
                        + "try again later", code: "queue_full", retryAfter: 1)
            }
            return zip(requests, sizes).map { request, size in
                let id = inbox.nextID
                inbox.nextID += 1
                let (events, writer) = Events.makeStream()
                writer.onTermination = { [weak self] end in if case .cancelled = end { self?.leave(id) } }
                inbox.arrivals.append(
                    EngineSequence(
                        id: id, model: model, request: request, top: top, cacheBytes: size, deadline: deadline,
                        events: writer)
                )
                return events
            }
        }
        bell.signal()
        return events
    }

    /// Bytes of keys and values that a sequence may grow to.
    private func cacheBytes(of request: DecodingRequest) -> Int {
        guard let model else { return 0 }
        return KVCache.byteCount(
            spec: model.spec, capacity: request.prompt.count + request.limit.tokens, type: model.keyValueType)
    }

    /// What it is doing now.
    var load: Load { inbox.withLock { $0.load } }

    /// Ends every sequence and the thread, and waits for that.
    public func stop() {
        inbox.withLock { $0.isStopping = true }
        bell.signal()
        hasEnded.wait()
        hasEnded.signal()
    }

    private func leave(_ id: Int) {
        inbox.withLock { $0.departures.append(id) }
        bell.signal()
    }

    /// What has come in since the last turn, waiting for it where there is nothing to do; nil: the engine stops.
    private func next(isIdle: Bool) -> EngineWorker.News? {
        while true {
            let news = inbox.withLock { inbox in
                defer { (inbox.arrivals, inbox.departures) = ([], []) }
                inbox.load.waiting += inbox.arrivals.count
                return EngineWorker.News(
                    arrivals: inbox.arrivals, departures: inbox.departures, isStopping: inbox.isStopping)
            }
            guard !news.isStopping else {
                for sequence in news.arrivals { sequence.end(.stopped) }
                return nil
            }
            if !isIdle || !news.arrivals.isEmpty { return news }
            bell.wait()
        }
    }
}

/// What goes from one thread to another for good.
private struct Handover<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}
