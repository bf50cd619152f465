import Base
import Model

/// A sequence in an engine.
struct EngineSequence {
    let id: Int
    /// The number of the model that it asks.
    let model: Int
    let request: DecodingRequest
    /// How many of the likeliest tokens a prediction names.
    let top: Int
    /// Bytes of keys and values that it may grow to.
    let cacheBytes: Int
    let deadline: ContinuousClock.Instant
    let events: DecodingEngine.Events.Continuation

    func end(_ ending: DecodingEngine.Ending) {
        events.yield(.ended(ending))
        events.finish()
    }
}

/// What an engine's thread does: a queue, and a batch for each model.
struct EngineWorker {
    /// What has come in since the last turn.
    struct News {
        let arrivals: [EngineSequence]
        let departures: [Int]
        let isStopping: Bool
    }

    private let limits: DecodingEngine.Limits
    private let sessions: [InferenceSession]
    private var batches: [DecodingBatch]
    private var waiting: [EngineSequence] = []
    private var active: [Int: EngineSequence] = [:]
    private var load = DecodingEngine.Load()

    init(sessions: [InferenceSession], limits: DecodingEngine.Limits) {
        self.limits = limits
        self.sessions = sessions
        batches = sessions.map(Self.batch)
    }

    private static func batch(_ session: InferenceSession) -> DecodingBatch {
        DecodingBatch(session: session, keepsFinished: true)
    }

    /// Nothing is decoded, nothing waits.
    var isIdle: Bool { active.isEmpty && waiting.isEmpty }

    /// Takes in what is new and does one forward pass of every model that has sequences; `onLoad` hears what it is doing before
    /// and after.
    mutating func turn(_ news: News, onLoad: (DecodingEngine.Load) -> Void) {
        waiting += news.arrivals
        for id in news.departures { drop(id) }
        let now = ContinuousClock.now
        for sequence in Array(active.values) + waiting where sequence.deadline < now {
            sequence.end(.timedOut)
            drop(sequence.id)
        }
        admit()
        report(onLoad)
        for model in batches.indices where batches[model].count > 0 { step(model) }
        report(onLoad)
    }

    /// Ends all that is left.
    mutating func stop() {
        for sequence in Array(active.values) + waiting { sequence.end(.stopped) }
        (active, waiting) = ([:], [])
    }

    private mutating func report(_ onLoad: (DecodingEngine.Load) -> Void) {
        load.active = active.count
        load.waiting = waiting.count
        onLoad(load)
    }

    private mutating func drop(_ id: Int) {
        waiting.removeAll { $0.id == id }
        if let sequence = active.removeValue(forKey: id) { batches[sequence.model].leave(id) }
    }

    private mutating func admit() {
        var bytes = active.values.reduce(0) { $0 + $1.cacheBytes }
        // In their order: a long one is not overtaken for ever.
        while let sequence = waiting.first, active.count < limits.parallel,
            bytes + sequence.cacheBytes <= limits.cacheBytes
        {
            waiting.removeFirst()
            bytes += sequence.cacheBytes
            active[sequence.id] = sequence
            batches[sequence.model].join(sequence.id, sequence.request)
        }
    }

    private mutating func step(_ model: Int) {
        let kernels = sessions[model].model.kernels
        let (before, sequences) = (batches[model].statistics, active)
        var ended: [Int] = []
        var newTokens = 0
        do {
            try batches[model].step(
                onPrediction: { id, token, logits in
                    guard let sequence = sequences[id] else { return }
                    sequence.events.yield(
                        .prediction(TokenPrediction(of: token, logits: logits, top: sequence.top, kernels: kernels)))
                },
                onEvent: { id, event in
                    switch event {
                    case .token(let token):
                        newTokens += 1
                        sequences[id]?.events.yield(.token(token))
                    case .ended(let ending):
                        sequences[id]?.end(.finished(ending))
                        ended.append(id)
                    }
                })
        } catch {
            let error = error as? MeraserError ?? .runtime("\(error)")
            for sequence in sequences.values where sequence.model == model {
                sequence.end(.failed(error))
                ended.append(sequence.id)
            }
            batches[model] = Self.batch(sessions[model])
        }
        for id in ended { active[id] = nil }
        let after = batches[model].statistics
        load.newTokens += newTokens
        load.promptTokens += max(0, after.promptTokens - before.promptTokens)
        load.sharedTokens += max(0, after.sharedTokens - before.sharedTokens)
    }
}
