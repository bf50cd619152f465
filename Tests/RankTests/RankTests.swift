import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Audit
@testable import Pipeline
@testable import Tune

/// Runs `body` as rank 0 of a job whose other ranks are threads.
private func onRanks<R>(_ count: Int, threads: Int = 1, _ body: (KernelContext) throws -> R) throws -> R {
    guard count > 1 else { return try body(try KernelContext(threads: threads)) }
    let ranks = ThreadRank.job(of: count)
    let group = DispatchGroup()
    for rank in ranks.dropFirst() {
        group.enter()
        let thread = Thread {
            do {
                try RankWorker(rank, threads: threads, interrupt: InterruptFlag()).serve()
            } catch { fatalError("rank \(rank.rank): \(error)") }
            group.leave()
        }
        thread.stackSize = 8 << 20
        thread.start()
    }
    let crew = Crew(ranks[0])
    let alone = try KernelContext(threads: threads)
    try crew.requireAlike(isa: alone.isaName)
    let result = try body(try KernelContext(threads: threads, isa: alone.isaName, crew: crew))
    // Ranks that were left in the middle of a step stay there: mpirun would have ended them.
    if crew.failure == nil {
        ranks[0].dismissOthers()
        group.wait()
    }
    return result
}

/// What is trained, with all that changes the arithmetic.
private enum Training: String, CaseIterable, CustomTestStringConvertible {
    case likelihood, divergence, reference, npo, crow, dpo, tokens, upper

    var testDescription: String { rawValue }

    var options: TrainingOptions {
        var options = TrainingOptions()
        options.lora = LoRAConfig(r: 2, loraAlpha: 4, loraDropout: 0.1, targetModules: [.q_proj, .down_proj])
        options.learningRate = 1e-2
        options.batchSize = 2
        options.accumulation = 3
        options.maxSteps = 3
        options.maxGradNorm = 0.5
        switch self {
        case .likelihood, .reference: break
        case .divergence: (options.klWeight, options.klBatch) = (0.5, 3)
        case .npo: options.objective = .npo
        case .crow: options.objective = .crow
        // Clean rows beside the pairs, whose numbers lie behind both answers of each.
        case .dpo:
            (options.objective, options.encoding.loss, options.lossMean) = (.dpo, .completion, .sample)
            (options.dpoLossType, options.klWeight, options.klBatch) = (.ipo, 0.5, 3)
        case .tokens: options.lora.tokens = [5, 17, 300]
        // Each rank keeps what the layers below gave.
        case .upper: (options.lora.layersToTransform, options.maxSteps) = ([3, 5], 6)
        }
        return options
    }

    /// Rows that learn what the frozen model says behind other texts.
    private static func references() throws -> EncodedDataset {
        var random = SeededRandom(seed: 7)
        func text(_ count: Int) -> [Int32] { (0..<count).map { _ in Int32(random.next() % 4096) } }
        let samples = try (0..<7).map { i in
            try #require(
                TrainingSample(
                    prompt: text(3 + i % 3), asBehind: text(5), along: text(4), limits: [0, -9, -9, 0]))
        }
        return EncodedDataset(samples: samples, sha256: sha256Hex("references".utf8))
    }

    private static func data(seed: UInt64, tokens: [Int32] = []) throws -> EncodedDataset {
        var random = SeededRandom(seed: seed)
        let samples = try (0..<8).map { i in
            let text = (0..<(5 + i % 4)).map { _ in Int32(random.next() % 4096) }
            // Rows that train come up in every sample, some of them twice.
            let all = text + tokens + text.prefix(2) + tokens.prefix(1)
            return try #require(TrainingSample(tokens: all, isLabel: all.map { _ in true }))
        }
        return EncodedDataset(samples: samples, sha256: sha256Hex("\(seed)".utf8))
    }

    /// Pairs of answers.
    private static func pairs() throws -> EncodedDataset {
        let samples = try zip(data(seed: 1).samples, data(seed: 5).samples).map { TrainingSample($0, over: $1) }
        return EncodedDataset(samples: samples, sha256: sha256Hex("pairs".utf8))
    }

    private var rows: EncodedDataset {
        get throws {
            switch self {
            case .reference: try Self.references()
            case .dpo: try Self.pairs()
            default: try Self.data(seed: 1, tokens: options.lora.tokens)
            }
        }
    }

    func trainer(_ kernels: KernelContext, frozen: Bool = true, steps: Int? = nil) throws -> Trainer {
        let model = try Transformer(store: try openWeightStore(path: tinychatFolder().path), kernels: kernels)
        let below = LoRAAdapter(config: LoRAConfig(r: 2, targetModules: [.v_proj]), for: model.spec)
        below.initialize(seed: 3)
        if let b = below[below.modules[0]]?.b { b.fill(0.01) }
        return try Trainer(
            model: model, frozen: frozen ? [below] : [],
            data: try rows,
            options: options, klData: [.divergence, .dpo].contains(self) ? try Self.data(seed: 2) : nil)
    }

    /// The adapter's numbers and the last loss.
    func result(ranks: Int, threads: Int = 1) throws -> (adapter: [UInt32], loss: Double) {
        try withTemporaryFolder { folder in
            try onRanks(ranks, threads: threads) { kernels in
                let trainer = try trainer(kernels)
                let result = try trainer.run(output: folder.appendingPathComponent("out").path)
                return (trainer.adapter.parameters.toArray().map(\.bitPattern), result.finalLoss)
            }
        }
    }
}

@Suite("Ranks", .serialized)
struct RankTests {
    @Test("a training gives one process's bits on any number of ranks and threads", arguments: Training.allCases)
    fileprivate func training(_ training: Training) throws {
        let alone = try training.result(ranks: 1)
        #expect(Set(alone.adapter).count > 100)
        for (ranks, threads) in [(2, 2), (4, 1)] {
            let found = try training.result(ranks: ranks, threads: threads)
            #expect(found.adapter == alone.adapter, "\(ranks) ranks of \(threads) threads")
            #expect(found.loss == alone.loss, "\(ranks) ranks of \(threads) threads")
        }
    }

    @Test("a run goes on with another number of ranks, to the same bits")
    func resume() throws {
        let alone = try Training.divergence.result(ranks: 1)
        for (first, second) in [(1, 3), (2, 1)] {
            try withTemporaryFolder { folder in
                let out = folder.appendingPathComponent("out").path
                try onRanks(first) { kernels in
                    let trainer = try Training.divergence.trainer(kernels)
                    let flag = InterruptFlag()
                    trainer.interrupt = flag
                    trainer.onStep = { if $0.step == 2 { flag.set() } }
                    #expect(throws: MeraserError.self) { try trainer.run(output: out) }
                }
                let found = try onRanks(second) { kernels in
                    let trainer = try Training.divergence.trainer(kernels)
                    _ = try trainer.run(output: out, resume: true)
                    return trainer.adapter.parameters.toArray().map(\.bitPattern)
                }
                #expect(found == alone.adapter, "\(first), then \(second) ranks")
            }
        }
    }

    @Test("a soft prompt is learnt to the same bits")
    func softPrompt() throws {
        func vectors(ranks: Int) throws -> [UInt32] {
            try withTemporaryFolder { folder in
                try onRanks(ranks) { kernels in
                    let model = try Transformer(
                        store: try openWeightStore(path: tinychatFolder().path), kernels: kernels)
                    let insertion = SoftInsertion(offset: 2, count: 3)
                    var random = SeededRandom(seed: 4)
                    let samples = try (0..<6).map { i -> TrainingSample in
                        var tokens = (0..<(7 + i % 3)).map { _ in Int32(random.next() % 4096) }
                        let row = insertion.apply(to: &tokens)
                        let isLabel = tokens.indices.map { $0 > row + 3 }
                        return try #require(TrainingSample(tokens: tokens, isLabel: isLabel, softRow: row))
                    }
                    var options = TrainingOptions()
                    (options.batchSize, options.accumulation, options.maxSteps) = (2, 3, 3)
                    options.learningRate = 1e-2
                    let trainer = try SoftPromptTrainer(
                        model: model, data: EncodedDataset(samples: samples, sha256: sha256Hex("s".utf8)),
                        options: options, insertion: insertion,
                        origin: SoftPrompt.Origin(baseSHA256: "", parents: [], responseSHA256: ""))
                    _ = try trainer.run(output: folder.appendingPathComponent("out").path)
                    return trainer.prompt.values.map(\.bitPattern)
                }
            }
        }
        let alone = try vectors(ranks: 1)
        #expect(Set(alone).count > 100)
        #expect(try vectors(ranks: 2) == alone)
        #expect(try vectors(ranks: 3) == alone)
    }

    @Test("questions are answered as one process does, in their order")
    func questions() throws {
        struct Answers: Equatable {
            let greedy, sampled: [Generation]
            let continuations: [[ContinuationScore]]
            let likelihoods: [[Float]]
            let positions: [SequenceScores]
            let chains: [ChainStep]
        }
        func answers(ranks: Int) throws -> Answers {
            try onRanks(ranks) { kernels in
                let model = try Transformer(store: try openWeightStore(path: tinychatFolder().path), kernels: kernels)
                let adapter = LoRAAdapter(config: LoRAConfig(r: 2, targetModules: [.v_proj]), for: model.spec)
                adapter.initialize(seed: 3)
                let session = InferenceSession(model: model, adapters: AdapterStack(trained: adapter))
                let base = InferenceSession(model: model)
                var random = SeededRandom(seed: 6)
                let texts = (0..<7).map { i in (0..<(3 + 2 * i)).map { _ in Int32(random.next() % 4096) } }
                let requests = texts.enumerated().map { GenerationRequest(prompt: $1, maxNewTokens: 3 + $0 % 4) }
                let sampling = SamplingOptions(temperature: 1, topP: 0.9, topK: 50, seed: 9)
                let greedy = try session.generate(requests, options: GenerationOptions())
                // What a session's adapter is may change between two questions.
                if let b = adapter[adapter.modules[0]]?.b { b.fill(0.05) }
                return Answers(
                    greedy: greedy,
                    sampled: try session.generate(requests, options: GenerationOptions(sampling: sampling)),
                    continuations: try session.scoreContinuations(
                        texts.map { ($0, [Array($0.prefix(2)), [7, 8, 9]]) }, sharesPrefix: true),
                    likelihoods: try base.negativeLogLikelihoods(texts),
                    positions: try PositionScorer(session, base: base, ranks: true).score(
                        texts.map { ScoredSequence(tokens: $0, scored: 1..<$0.count) }),
                    chains: try ChainQuestions(answers: Array(texts.prefix(2)), elsewhere: [texts[2]]).ask(
                        texts.map { ChainQuestions.Chain(Array($0.prefix(3))) }, of: [session, base]))
            }
        }
        let alone = try answers(ranks: 1)
        #expect(alone.greedy != alone.sampled)
        #expect(try answers(ranks: 2) == alone)
        #expect(try answers(ranks: 4) == alone)
    }

    @Test("a plan says what each rank needs, and how many of them have something to do")
    func plan() throws {
        try onRanks(3) { kernels in
            let trainer = try Training.likelihood.trainer(kernels)
            #expect(trainer.plan.ranks == 3)
            #expect(trainer.plan.shards == 3)
            let plans = try trainer.rankPlans()
            #expect(plans.map(\.rank) == [1, 2])
            #expect(plans.allSatisfy { $0.threads == 1 && $0.bytes > 1 << 20 && $0.bytes < $0.limit })
            #expect(try Training.crow.trainer(kernels).plan.shards == 6)
            #expect(try Training.divergence.trainer(kernels).plan.shards == 5)
        }
        #expect(try Training.likelihood.trainer(KernelContext(threads: 1)).rankPlans().isEmpty)
    }

    @Test("a rank with another program, or without rank 0's instruction set, is refused by name")
    func unlike() throws {
        for (numerics, hasISA, expected) in [(9999, true, "numerics"), (numericsVersion, false, "MERASER_ISA")] {
            let ranks = ThreadRank.job(of: 2)
            let thread = Thread {
                guard (try? ranks[1].receiveMessage(from: 0)) != nil else { return }
                var reply = Message()
                reply.append("elsewhere")
                var fields = Build.current.fields
                fields[3] = (key: "numerics", value: .integer(numerics))
                reply.append(JSONValue.object(JSONObject(fields)).serialized())
                reply.append(hasISA)
                ranks[1].send(reply, to: 0)
            }
            thread.start()
            let error = #expect(throws: MeraserError.self) { try Crew(ranks[0]).requireAlike(isa: "avx9") }
            #expect(error?.kind == .usage)
            #expect(error?.message.contains("rank 1 on elsewhere") == true)
            #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
        }
    }

    @Test("other weights under the same name are refused")
    func weights() throws {
        let kernels = try KernelContext(threads: 1)
        let model = try Transformer(store: try openWeightStore(path: tinychatFolder().path), kernels: kernels)
        var message = Message()
        message.append(tinychatFolder().path)
        message.append(String(repeating: "0", count: 64))
        message.append(model.compute)
        message.append(Compute.f32)
        var reader = MessageReader(message.bytes)
        let reference = try reader.value(ModelReference.self)
        let error = #expect(throws: MeraserError.self) { try reference.open(threads: 1, isa: kernels.isaName) }
        #expect(error?.kind == .badInput)
        #expect(error?.message.contains(try model.store.sha256()) == true)
    }
}
