import Foundation
import Kernels
import Model
import Quant
import Tune

/// Measures a model on several numbers of threads: llama-bench's tests, and a training step.
///
/// - Parameters:
///   - path: an `.mqf` file or a Hugging Face folder.
///   - adapterPaths: PEFT folders that lie on the model in every test.
///   - compute: precision of the forward's products; nil: what inference and training choose themselves.
///   - contexts: instruction set and threads of each run, at least one.
///   - onProgress: called before each test with what is coming.
/// - Throws: what opening the model throws.
public func bench(
    path: String, adapterPaths: [String] = [], compute: Compute? = nil, contexts: [KernelContext],
    options: BenchOptions,
    onProgress: (String) -> Void = { _ in }
) throws -> BenchReport {
    precondition(!contexts.isEmpty && options.rounds >= 1)
    var peaks: [(threads: Int, peak: MachinePeak)] = []
    var results: [BenchResult] = []
    var described: (model: String, work: ModelWork, compute: Compute)?
    for kernels in contexts {
        let model = try AdaptedModel(path: path, adapterPaths: adapterPaths, kernels: kernels, compute: compute)
        if described == nil { model.warnings.forEach(onProgress) }
        let tests = try options.tests(context: model.transformer.spec.maxPositionEmbeddings)
        // Only a training asks what was measured here.
        let training =
            try tests.contains { $0.isTraining }
            ? PrecisionPlan(compute, backward: options.backward, on: kernels) : nil
        let store = model.transformer.store
        let work = try described?.work ?? ModelWork(store, spec: model.transformer.spec)
        described = (
            URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent, work, model.transformer.compute
        )
        onProgress("measuring the peaks of \(kernels.isaName) on \(kernels.threads) threads")
        var peak = kernels.measurePeak()
        var measured: [(test: BenchTest, seconds: [Double], peakRSSBytes: Int)] = []
        for test in tests {
            onProgress("\(test.name) on \(kernels.threads) threads")
            ProcessMemory.resetPeak()
            let run = BenchRun(model: model, training: training, options: options)
            let seconds = try run.seconds(test)
            measured.append((test, seconds, ProcessMemory.peakBytes))
        }
        peak = peak.maximum(kernels.measurePeak())
        peaks.append((kernels.threads, peak))
        results += measured.map { test, seconds, rss in
            let inference = model.transformer.compute
            let used = test.isTraining ? training?.forward ?? inference : inference
            let limit = BenchLimit(
                test, work: work, compute: used, backward: training?.backward ?? inference, peak: peak)
            return BenchResult(
                test: test, threads: kernels.threads, compute: used,
                tokensPerSecond: seconds.map { Double(test.tokenCount) / $0 },
                peakRSSBytes: rss, limit: limit.name, shareOfPeak: limit.seconds.map { $0 / middle(seconds) })
        }
    }
    guard let described else { preconditionFailure("no contexts") }
    return BenchReport(
        model: described.model, type: described.work.type, parameters: described.work.parameters,
        bytes: described.work.bytes, isa: contexts[0].isaName, compute: described.compute, peaks: peaks,
        results: results)
}

/// The measurements of one test.
private struct BenchRun {
    let model: AdaptedModel
    let training: PrecisionPlan?
    let options: BenchOptions
    private let clock = ContinuousClock()

    init(model: AdaptedModel, training: PrecisionPlan?, options: BenchOptions) {
        self.model = model
        self.training = training
        self.options = options
    }

    /// Seconds of each round, after one that is not counted: it brings the weights into memory.
    func seconds(_ test: BenchTest) throws -> [Double] {
        switch test {
        case .prompt(let count):
            let session = model.session()
            return try rounds { try time { _ = try generate(session, prompts: [tokens(count)], new: 1) } }
        case .generation(let count):
            let session = model.session()
            _ = try generate(session, prompts: [tokens(1)], new: 1)
            return try rounds(warmUp: false) {
                try time { _ = try generate(session, prompts: [tokens(1)], new: count) }
            }
        case .batch(let sequences, let new):
            let session = model.session()
            let prompts = (0..<sequences).map { tokens(options.batchPrompt, sequence: $0) }
            _ = try generate(session, prompts: prompts, new: 1)
            return try rounds(warmUp: false) { try steadySeconds(session, prompts: prompts, new: new) }
        case .training(let count):
            let rehearsal = StepRehearsal(
                model: try training?.model(model.transformer) ?? model.transformer, frozen: model.adapters,
                tokens: tokens(count), seed: options.seed)
            return try rounds { try time { try rehearsal.step() } }
        }
    }

    private func rounds(warmUp: Bool = true, _ body: () throws -> Double) throws -> [Double] {
        if warmUp { _ = try body() }
        return try (0..<options.rounds).map { _ in try body() }
    }

    private func time(_ body: () throws -> Void) rethrows -> Double {
        let start = clock.now
        try body()
        return (clock.now - start).inSeconds
    }

    private func generate(
        _ session: InferenceSession, prompts: [[Int32]], new: Int, onToken: ((Int, Int32) -> Void)? = nil
    ) throws -> [Generation] {
        try session.generate(
            prompts.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(maxNewTokens: new, batchSize: prompts.count), onToken: onToken)
    }

    /// Seconds in which every sequence gets `new` tokens while all of them are being decoded: from the moment when
    /// the last prompt is through.
    private func steadySeconds(_ session: InferenceSession, prompts: [[Int32]], new: Int) throws -> Double {
        let progress = SteadyState(sequences: prompts.count, new: new)
        // Earlier prompts are ahead of the last one by the passes that the prompts take.
        let lead = prompts.count * options.batchPrompt / session.tokenBudget + 2
        _ = try generate(session, prompts: prompts, new: new + lead) { sequence, _ in progress.took(sequence) }
        return progress.seconds
    }

    private func tokens(_ count: Int, sequence: Int = 0) -> [Int32] {
        randomTokens(count, of: model.transformer.spec, seed: options.seed &+ UInt64(sequence) &* 0x1_0000)
    }
}

/// Watches a batch: from the token that the last sequence to start gets first, to `new` tokens later.
private final class SteadyState {
    private let new: Int
    private let clock = ContinuousClock()
    private var counts: [Int]
    private var waiting: Int
    private var last: Int?
    private var start: ContinuousClock.Instant?
    /// The time between the two.
    private(set) var seconds = 0.0

    init(sequences: Int, new: Int) {
        self.new = new
        counts = Array(repeating: 0, count: sequences)
        waiting = sequences
    }

    func took(_ sequence: Int) {
        counts[sequence] += 1
        if counts[sequence] == 1 {
            waiting -= 1
            if waiting == 0 {
                last = sequence
                start = clock.now
            }
        } else if sequence == last, counts[sequence] == new + 1, let start {
            seconds = (clock.now - start).inSeconds
        }
    }
}

extension Duration {
    /// In seconds.
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
