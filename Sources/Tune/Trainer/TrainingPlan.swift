import Kernels
import Model
import Quant

/// What a run is going to do and need; printed before it starts and by `--dry-run`.
public struct TrainingPlan: Sendable, Equatable {
    /// Numbers that are learnt.
    public let trainableParameters: Int
    /// Samples, and rows that were left out because nothing in them is to be learnt.
    public let samples: Int
    /// Rows left out.
    public let skipped: Int
    /// Tokens of an epoch.
    public let tokensPerEpoch: Int
    /// Label tokens of an epoch.
    public let labelsPerEpoch: Int
    /// Tokens of the longest sample.
    public let longestSample: Int
    /// Optimiser steps.
    public let steps: Int
    /// Optimiser steps of an epoch.
    public let stepsPerEpoch: Int
    /// Tokens of the largest micro-batch.
    public let maximumTokens: Int
    /// Bytes of the frozen weights, mapped from their file.
    public let weightBytes: Int
    /// Bytes of activations and scratch for the largest micro-batch.
    public let activationBytes: Int
    /// Bytes of adapters, gradients and optimiser.
    public let optimizerBytes: Int
    /// Bytes that may be used.
    public let limitBytes: Int

    /// Bytes in all.
    public var totalBytes: Int { weightBytes + activationBytes + optimizerBytes + Self.programBytes }
    /// The program itself with tokenizer and data.
    static let programBytes = 64 << 20

    /// The plan in lines for a terminal.
    public var lines: [String] {
        [
            "trainable parameters  \(trainableParameters)",
            "data                  \(samples) samples, \(tokensPerEpoch) tokens, \(labelsPerEpoch) of them learnt, longest "
                + "\(longestSample)" + (skipped > 0 ? ", \(skipped) rows without anything to learn left out" : ""),
            "steps                 \(steps), \(stepsPerEpoch) an epoch, micro-batches of up to \(maximumTokens) tokens",
            "memory                \(describedBytes(totalBytes)): weights \(describedBytes(weightBytes)), activations "
                + "\(describedBytes(activationBytes)), optimiser \(describedBytes(optimizerBytes)); limit "
                + describedBytes(limitBytes),
        ]
    }

    /// The plan as one object, for `--dry-run --json`.
    public var json: JSONValue {
        [
            "trainable_parameters": .integer(trainableParameters), "samples": .integer(samples),
            "skipped": .integer(skipped), "tokens_per_epoch": .integer(tokensPerEpoch),
            "label_tokens_per_epoch": .integer(labelsPerEpoch), "longest_sample": .integer(longestSample),
            "steps": .integer(steps), "steps_per_epoch": .integer(stepsPerEpoch),
            "maximum_tokens": .integer(maximumTokens), "weight_bytes": .integer(weightBytes),
            "activation_bytes": .integer(activationBytes), "optimizer_bytes": .integer(optimizerBytes),
            "total_bytes": .integer(totalBytes), "limit_bytes": .integer(limitBytes),
        ]
    }
}

/// Estimates the memory of a run and finds what would make it fit.
struct MemoryPlanner {
    let model: ModelConfig
    let weightBytes: Int
    /// Parameters of frozen adapters.
    let frozenParameters: Int
    let trained: LoRAAdapter
    let maximumRank: Int

    init(model: Transformer, frozen: [LoRAAdapter], trained: LoRAAdapter) {
        self.model = model.config
        self.trained = trained
        let store = model.store
        weightBytes = store.tensorNames.reduce(0) { $0 + ((try? store.tensor($1))?.info.byteCount ?? 0) }
        frozenParameters = frozen.reduce(0) { $0 + $1.parameters.count }
        maximumRank = AdapterStack(frozen: frozen, trained: trained).maximumRank
    }

    var optimizerBytes: Int {
        OptimizerState.byteCount(parameters: trained.parameters.count)
            + frozenParameters * MemoryLayout<Float>.size
    }

    func activationBytes(tokens: Int) -> Int {
        TrainingGraph.byteCount(
            config: model, tokens: tokens, maximumRank: maximumRank, lowestLayer: trained.lowestLayer)
    }

    private func total(tokens: Int) -> Int {
        weightBytes + optimizerBytes + activationBytes(tokens: tokens) + TrainingPlan.programBytes
    }

    /// - Throws: an out-of-memory error with what would make the run fit, if the plan does not.
    func check(_ plan: TrainingPlan, samples: [TrainingSample], options: TrainingOptions) throws {
        guard plan.totalBytes > plan.limitBytes else { return }
        let lengths = samples.map(\.inputs.count).sorted(by: >)
        let advice: String
        if let batch = (1..<max(1, options.batchSize)).reversed().first(where: {
            total(tokens: lengths.prefix($0).reduce(0, +)) <= plan.limitBytes
        }) {
            let accumulation = (options.effectiveBatchSize - 1) / batch + 1
            advice =
                "--per-device-train-batch-size \(batch) --gradient-accumulation-steps \(accumulation) would fit"
        } else if total(tokens: 16) <= plan.limitBytes {
            var low = 16
            var high = plan.maximumTokens
            while high - low > 1 {
                let middle = (low + high) / 2
                if total(tokens: middle) <= plan.limitBytes { low = middle } else { high = middle }
            }
            advice = "--per-device-train-batch-size 1 --max-length \(low) would fit"
        } else {
            advice = "the model needs \(describedBytes(total(tokens: 16))) at least; convert it to fewer bits"
        }
        throw MeraserError(
            .outOfMemory,
            "the run needs about \(describedBytes(plan.totalBytes)) (weights \(describedBytes(plan.weightBytes)), "
                + "activations \(describedBytes(plan.activationBytes)), optimiser "
                + "\(describedBytes(plan.optimizerBytes))) and may take \(describedBytes(plan.limitBytes)): \(advice)")
    }
}
