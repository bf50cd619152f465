import Kernels
import Model
import Quant

/// One optimiser step, over and over on the same random tokens: what a run costs, without data and files.
///
/// A fresh adapter (r 8 on q and v) on top of the frozen ones, every token but the first a label, no dropout. Not
/// thread-safe.
public final class StepRehearsal {
    private let model: Transformer
    private let graph: TrainingGraph
    private let optimizer: OptimizerState
    private let batch: LabelledBatch

    /// Prepares steps over one sequence of `tokens`, at least 2.
    public init(model: Transformer, frozen: [LoRAAdapter], tokens: [Int32], seed: UInt64) {
        precondition(tokens.count >= 2, "\(tokens.count) tokens")
        self.model = model
        var options = TrainingOptions()
        options.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0, targetModules: [.q_proj, .v_proj])
        let adapter = LoRAAdapter(config: options.lora, for: model.spec)
        adapter.initialize(seed: seed)
        optimizer = OptimizerState(adapter: adapter, options: options)
        graph = TrainingGraph(model: model, frozen: frozen, trained: adapter, maximumTokens: tokens.count)
        batch = LabelledBatch(
            batch: PackedBatch([tokens]), labels: tokens.dropFirst() + [-1],
            weights: Array(repeating: 1 / Float(tokens.count - 1), count: tokens.count),
            samples: Array(repeating: 0, count: tokens.count))
    }

    /// Forward, backward and AdamW. Returns the loss.
    ///
    /// - Throws: a runtime error if a value is not finite.
    @discardableResult
    public func step() throws -> Double {
        var loss = 0.0
        _ = try optimizer.advance(learningRate: 1e-4, kernels: model.kernels) { gradients in
            loss = try graph.accumulate(batch, into: gradients)
        }
        return loss
    }
}
