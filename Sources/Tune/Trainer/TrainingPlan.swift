import Base

/// What a run is going to do and need; printed before it starts and by `--dry-run`.
public struct TrainingPlan: Sendable {
    /// What the products are computed in.
    public let precision: PrecisionPlan
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
    /// Samples of a forward and backward, and how many of these an optimiser step adds up.
    public let batch: (size: Int, accumulation: Int)
    /// Ranks that share the work, and what each can compute of a step by itself: micro-batches, clean ones too.
    public var ranks = 1
    /// Shards of a whole step.
    public var shards = 1
    /// Tokens of the largest micro-batch.
    public let maximumTokens: Int
    /// Clean samples that the frozen model is compared on, tokens of all of them, how many go into a step, and the
    /// divergence's weight; nil where none is learnt.
    public var divergence: (samples: Int, tokens: Int, perStep: Int, weight: Double)?
    /// Rows of `eval_data`, tokens of all of them, and every how many steps they are measured (nil: at the end); nil where there
    /// are none.
    public var evaluation: (samples: Int, tokens: Int, every: Int?)?
    /// What the backward computes again, so that the run fits.
    public let recompute: RecomputePlan
    /// True if weights are in memory only while their layer is at work, so that the run fits.
    public var streamsWeights = false
    /// What of the layers below the lowest adapter is kept from epoch to epoch; nil: nothing.
    public var frozen: FrozenPlan?
    /// Layers from the lowest adapted one up.
    public let adaptedLayers: Int
    /// Bytes of memory.
    public let memory: MemoryUse
    /// Bytes that the run would take if it kept all, recomputed every MLP, recomputed every layer.
    public let choices: [(name: String, bytes: Int)]
    /// Bytes that may be used.
    public let limitBytes: Int

    /// The plan in lines for a terminal.
    public var lines: [String] {
        let divergence = divergence.map {
            "divergence            weight \($0.weight), \($0.perStep) of \($0.samples) clean samples a step, each once more "
                + "without the adapter"
        }
        return [
            "compute               \(precision.line)",
            "trainable parameters  \(trainableParameters)",
            "data                  \(samples) samples, \(tokensPerEpoch) tokens, \(labelsPerEpoch) of them learnt, longest "
                + "\(longestSample)" + (skipped > 0 ? ", \(skipped) rows without anything to learn left out" : ""),
            "batch                 \(effectiveBatch) samples a step: \(batch.accumulation) x \(batch.size), up to "
                + "\(maximumTokens) tokens at once",
            "steps                 \(steps), \(stepsPerEpoch) an epoch",
            divergence, evaluationText, ranksText,
            "memory                \(byteText(memory.total)): weights \(byteText(memory.weights)), kept "
                + "activations \(byteText(memory.kept)), working \(byteText(memory.working)), optimiser "
                + "\(byteText(memory.optimizer)), program \(byteText(memory.program))\(frozenText); limit "
                + byteText(limitBytes),
            streamsWeights ? "weights               streamed: in memory only while their layer is at work" : nil,
            frozen?.line,
            "activations           \(recomputeText) ("
                + choices.map { "\($0.name) \(byteText($0.bytes))" }.joined(separator: ", ") + ")",
        ].compactMap { $0 }
    }

    /// Samples of an optimiser step.
    private var effectiveBatch: Int { batch.size * batch.accumulation }

    private var evaluationText: String? {
        evaluation.map { rows in
            "validation            \(rows.samples) samples, \(rows.tokens) tokens, measured "
                + (rows.every.map { "every \($0) steps" } ?? "at the end")
        }
    }

    private var ranksText: String? {
        guard ranks > 1 else { return nil }
        let busy = min(ranks, shards)
        let idle = busy < ranks ? "; \(ranks - busy) have nothing to do: smaller micro-batches are more" : ""
        return "ranks                 \(ranks), which share the \(shards) micro-batches of a step\(idle)"
    }

    private var frozenText: String { memory.frozen > 0 ? ", frozen layers \(byteText(memory.frozen))" : "" }

    private var recomputeText: String {
        if recompute == .keepAll { return "all kept" }
        let parts = [
            recompute.layers > 0 ? "\(recompute.layers) layers" : nil,
            recompute.mlps > 0 ? "the MLPs of \(recompute.mlps) layers" : nil,
        ]
        return "\(parts.compactMap { $0 }.joined(separator: " and ")) of \(adaptedLayers) recomputed in the backward"
    }

    /// The plan as members of an object, for `--dry-run --json`.
    public var fields: [(key: String, value: JSONValue)] {
        let choices = choices.map {
            (key: String($0.name.map { $0 == " " ? "_" : $0 }), value: JSONValue.integer($0.bytes))
        }
        return precision.fields + [
            ("trainable_parameters", .integer(trainableParameters)), ("samples", .integer(samples)),
            ("skipped", .integer(skipped)), ("tokens_per_epoch", .integer(tokensPerEpoch)),
            ("label_tokens_per_epoch", .integer(labelsPerEpoch)), ("longest_sample", .integer(longestSample)),
            ("steps", .integer(steps)), ("steps_per_epoch", .integer(stepsPerEpoch)),
            ("per_device_train_batch_size", .integer(batch.size)),
            ("gradient_accumulation_steps", .integer(batch.accumulation)),
            ("effective_batch_size", .integer(effectiveBatch)), ("ranks", .integer(ranks)),
            ("shards", .integer(shards)),
            ("maximum_tokens", .integer(maximumTokens)), ("kl_samples", .integer(divergence?.samples ?? 0)),
            ("kl_tokens", .integer(divergence?.tokens ?? 0)), ("kl_batch", .integer(divergence?.perStep ?? 0)),
            ("kl_weight", .real(divergence?.weight ?? 0)), ("eval_samples", .integer(evaluation?.samples ?? 0)),
            ("eval_tokens", .integer(evaluation?.tokens ?? 0)), ("weight_bytes", .integer(memory.weights)),
            ("kept_bytes", .integer(memory.kept)), ("working_bytes", .integer(memory.working)),
            ("optimizer_bytes", .integer(memory.optimizer)), ("program_bytes", .integer(memory.program)),
            ("frozen_bytes", .integer(memory.frozen)), ("frozen_disk_bytes", .integer(frozen?.disk ?? 0)),
            ("frozen_layers", .integer(frozen?.layers ?? 0)), ("streams_weights", .bool(streamsWeights)),
            ("total_bytes", .integer(memory.total)), ("limit_bytes", .integer(limitBytes)),
            ("adapted_layers", .integer(adaptedLayers)), ("recomputed_layers", .integer(recompute.layers)),
            ("recomputed_mlps", .integer(recompute.mlps)), ("choices", .object(JSONObject(choices))),
        ]
    }
}
