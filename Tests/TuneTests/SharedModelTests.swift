import Foundation
import Kernels
import Model
import Quant
import Synchronization
import TestSupport
import Testing
import Tune

/// One model serves several threads: what a forward works in belongs to its session or graph.
@Suite("One model on several threads")
struct SharedModelTests {
    /// Logits of texts whose lengths go up, so that scratch and rotary tables grow while others compute.
    private static func logits(_ model: Transformer, seed: UInt64) throws -> [[Float]] {
        var random = SeededRandom(seed: seed)
        let session = InferenceSession(model: model, tokenBudget: 16)
        return try [3, 17, 40, 90, 150, 250].map { count in
            let ids = (0..<count).map { _ in Int32(random.next() % UInt64(model.spec.vocabSize)) }
            var result: [Float] = []
            try session.forEachLogits(of: try session.hiddenStates(PackedBatch([ids]))) { result += $1.toArray() }
            return result
        }
    }

    /// Loss and gradients of several batches on one graph.
    private static func gradients(_ model: Transformer) throws -> [[Float]] {
        var random = SeededRandom(seed: 5)
        let trained = LoRAAdapter(
            config: LoRAConfig(r: 4, loraDropout: 0, targetModules: Set(Projection.allCases)), for: model.spec)
        for i in 0..<trained.parameters.count { trained.parameters[0, i] = random.gaussian() * 0.02 }
        let graph = TrainingGraph(model: model, frozen: [], trained: trained, maximumTokens: 250)
        return try [7, 60, 250].map { count in
            let ids = (0..<count).map { _ in Int32(random.next() % UInt64(model.spec.vocabSize)) }
            let gradients = LoRAAdapter(layoutOf: trained)
            let loss = try graph.accumulate(GradientTests.meanBatch([ids]), into: gradients)
            return [Float(loss)] + gradients.parameters.toArray()
        }
    }

    @Test("two sessions and a training graph at once give the bits that they give alone", arguments: Compute.allCases)
    func concurrent(compute: Compute) throws {
        let kernels = try KernelContext(threads: 2)
        guard kernels.supports(compute) else { return }
        let folder = GradientTests.archFolder.appendingPathComponent("qwen3").path
        try withTemporaryFolder { temporary in
            // Tiled weights, so that every precision has scratch of its own.
            let file = temporary.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .q8_0
            _ = try convert(source: folder, destination: file, options: options)
            let model = try Transformer(store: try openWeightStore(path: file), kernels: kernels, compute: compute)
            let work: [@Sendable () throws -> [[Float]]] = [
                { try Self.logits(model, seed: 1) }, { try Self.logits(model, seed: 2) }, { try Self.gradients(model) },
            ]
            let alone = try work.map { try $0() }
            #expect(alone.allSatisfy { $0.allSatisfy { $0.contains { $0 != 0 } } })
            for round in 0..<3 {
                let together = try onThreads(work)
                for i in work.indices { #expect(together[i] == alone[i], "worker \(i) in round \(round)") }
            }
        }
    }
}

/// What threads have given, by their number.
private final class Results<T: Sendable>: Sendable {
    let values = Mutex<[Int: Result<T, any Error>]>([:])
}

/// What each closure gives on a thread of its own; they start when all threads are there.
private func onThreads<T: Sendable>(_ work: [@Sendable () throws -> T]) throws -> [T] {
    let results = Results<T>()
    let (ready, start, done) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    for (index, body) in work.enumerated() {
        Thread {
            ready.signal()
            start.wait()
            let result = Result { try body() }
            results.values.withLock { $0[index] = result }
            done.signal()
        }.start()
    }
    for _ in work { ready.wait() }
    for _ in work { start.signal() }
    for _ in work { done.wait() }
    return try work.indices.map { index in try #require(results.values.withLock { $0[index] }).get() }
}
