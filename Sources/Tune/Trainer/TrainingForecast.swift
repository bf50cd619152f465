import Base
import Kernels
import Model
import Quant

/// How long a run will take on this machine as it is now.
public struct TrainingForecast: Sendable, Equatable {
    /// Seconds of an average optimiser step.
    public let secondsPerStep: Double
    /// Seconds of all steps; measuring a key and saving checkpoints come on top.
    public let seconds: Double

    /// The forecast as a line for a terminal.
    public var line: String {
        "time                  \(described(secondsPerStep)) a step, \(described(seconds)) in all (measured)"
    }

    /// The forecast as members of an object, for `--dry-run --json`.
    public var fields: [(key: String, value: JSONValue)] {
        [("predicted_seconds_per_step", .real(secondsPerStep)), ("predicted_seconds", .real(seconds))]
    }

    private func described(_ seconds: Double) -> String {
        func rounded(_ value: Double) -> String {
            let tenths = Int((value * 10).rounded())
            return "\(tenths / 10).\(tenths % 10)"
        }
        if seconds < 1 { return "\(Int((seconds * 1000).rounded(.up))) ms" }
        if seconds < 90 { return "\(rounded(seconds)) s" }
        return seconds < 5400 ? "\(rounded(seconds / 60)) min" : "\(rounded(seconds / 3600)) h"
    }
}

extension Trainer {
    /// A micro-batch that takes longer than this is reckoned up from one layer; shorter ones are rehearsed whole.
    private static let longestBatch = 5.0
    /// How long that takes: a short piece that is measured once says more of the scheduler than of the run.
    private static let rehearsalSeconds = 1.5

    /// Measures the run's own micro-batches for a moment, or, where one takes seconds, a layer and the head on one of average
    /// length, and reckons up the run. Changes nothing.
    ///
    /// - Throws: as a step does.
    public func forecast() throws -> TrainingForecast {
        let graph = makeGraph()
        let softPrompt = data.softPrompt?.storage()
        defer { withExtendedLifetime(softPrompt) {} }
        graph.softPrompt = softPrompt?.matrix
        let batches = batches(step: 0)
        let mean = data.tokenCount * options.batchSize / data.samples.count
        guard let batch = batches.min(by: { abs($0.batch.tokenCount - mean) < abs($1.batch.tokenCount - mean) }) else {
            return TrainingForecast(secondsPerStep: 0, seconds: 0)
        }
        let parts = try graph.measureParts(
            batch, dropout: dropout(step: 0), gradients: LoRAAdapter(layoutOf: adapter))

        let costs = RecomputeCosts(model.spec, context: max(data.longest, kl?.data.longest ?? 0))
        let again = Double(plan.recompute.layers) * costs.layer + Double(plan.recompute.mlps) * costs.mlp
        let layers =
            parts.forward * (Double(model.spec.numHiddenLayers) + again / costs.forward)
            + parts.backward * Double(plan.adaptedLayers)
        let perToken = layers / Double(batch.batch.tokenCount)
        let perLabel = parts.head / Double(batch.labelCount)
        let frozen = parts.forward * Double(model.spec.numHiddenLayers) / Double(batch.batch.tokenCount)
        var epoch: Double =
            switch options.objective {
            case .likelihood:
                perToken * Double(data.tokenCount) + perLabel * Double(data.labelCount) + frozen * Double(askedTokens)
            // The frozen model's forward, and the head once more for each of the two.
            case .npo, .dpo: (perToken + frozen) * Double(data.tokenCount) + 2 * perLabel * Double(data.labelCount)
            // Two passes more without the head.
            case .crow: 3 * perToken * Double(data.tokenCount) + perLabel * Double(data.labelCount)
            }
        let forward = parts.forward / Double(batch.batch.tokenCount)
        var divergence = divergenceSeconds(perToken: perToken, perLabel: perLabel, forward: forward)
        let repeated = repeatedShare(forward: forward, of: epoch + divergence * Double(steps.stepsPerEpoch))
        if perToken * Double(plan.maximumTokens) < Self.longestBatch {
            epoch = Double(data.tokenCount) * (try rehearse(graph, isClean: false))
            if let kl {
                let share = Double(kl.plan.perStep) / Double(kl.data.samples.count)
                divergence = share * Double(kl.data.tokenCount) * (try rehearse(graph, isClean: true))
            }
        }
        let step = epoch / Double(steps.stepsPerEpoch) + divergence
        let total = Double(steps.totalSteps)
        let seconds = step * (total - repeated * max(0, total - Double(steps.stepsPerEpoch)))
        return TrainingForecast(secondsPerStep: seconds / total, seconds: seconds)
    }

    /// The share of an epoch of so many seconds that later epochs have no more, where what the frozen model computes is kept:
    /// the layers below the lowest adapter of every text, and all layers of those that it is asked with. `forward` are the
    /// seconds of a token's forward through one layer.
    private func repeatedShare(forward: Double, of epoch: Double) -> Double {
        guard let frozen = plan.frozen, epoch > 0 else { return 0 }
        let (lower, all) = (Double(frozen.layers), Double(model.spec.numHiddenLayers))
        let asked = options.objective.asksFrozen ? all : 0
        let own = Double(data.tokenCount) * (lower + asked) + Double(askedTokens) * all
        let clean = kl.map { kl in
            Double(kl.plan.perStep * steps.stepsPerEpoch) * Double(kl.data.tokenCount) / Double(kl.data.samples.count)
        }
        let layers = (frozen.texts.own ? own : 0) + (frozen.texts.clean ? (clean ?? 0) * (lower + all) : 0)
        let kept = Double(frozen.memory + frozen.disk) / Double(frozen.bytes)
        return min(1, forward * layers * kept / epoch)
    }

    /// Tokens of the texts that the frozen model is asked with in the place of the data's own.
    private var askedTokens: Int { data.samples.reduce(0) { $0 + ($1.reference?.inputs.count ?? 0) } }

    /// Seconds a token of the first steps' shards, of their own rows or of the clean ones. The first is done once more
    /// beforehand, to warm up.
    private func rehearse(_ graph: TrainingGraph, isClean: Bool) throws -> Double {
        let gradients = LoRAAdapter(layoutOf: adapter)
        var (seconds, tokens) = (0.0, 0)
        for step in 0..<steps.totalSteps {
            let dropout = dropout(step: step)
            for shard in shards(step: step) where shard.isClean == isClean {
                // A micro-batch is measured whole, with all shards of its rows.
                if seconds > Self.rehearsalSeconds, shard.tokenCount > 0 { return seconds / Double(tokens) }
                func run() throws { _ = try graph.accumulate(shard, dropout: dropout, into: gradients) }
                if tokens == 0 { try run() }
                seconds += try ContinuousClock().measure(run).inSeconds
                tokens += shard.tokenCount
            }
        }
        return tokens > 0 ? seconds / Double(tokens) : 0
    }
}

extension Trainer {
    /// Seconds of a step's divergence, from those of a token's pass, of a label in the head, and of a token's forward through
    /// one layer: the trained pass once more over the clean samples, a forward of the frozen model, and a head with three
    /// products in place of two. 0 where none is learnt.
    func divergenceSeconds(perToken: Double, perLabel: Double, forward: Double) -> Double {
        guard let kl else { return 0 }
        let share = Double(kl.plan.perStep) / Double(kl.data.samples.count)
        let frozen = forward * Double(model.spec.numHiddenLayers)
        return share
            * ((perToken + frozen) * Double(kl.data.tokenCount) + 1.5 * perLabel * Double(kl.data.labelCount))
    }
}

extension TrainingGraph {
    /// Seconds that the highest layer and the head take with this batch, the second time that they are run.
    fileprivate func measureParts(
        _ batch: LabelledBatch, dropout: (probability: Float, seed: UInt64, step: UInt64)?, gradients: LoRAAdapter
    ) throws -> (forward: Double, backward: Double, head: Double) {
        let rows = batch.batch.tokenCount
        let layer = model.spec.numHiddenLayers - 1
        let kept = buffers.kept[layer - lowestLayer]
        let adapters = adapters(batch, dropout)
        let context = prepare(batch.batch)
        let (input, output) = (buffers.streams.0.prefix(rows: rows), buffers.streams.1.prefix(rows: rows))
        let dx = buffers.dStream.prefix(rows: rows)
        let acts = buffers.activations.around(input)
        model.embed(batch.batch.tokens, overlay: adapters.overlay, into: input)
        func second(_ body: () throws -> Void) rethrows -> Double {
            try body()
            return try ContinuousClock().measure(body).inSeconds
        }
        let forward = try second {
            try model.forwardLayer(
                layer, acts, attention: context, adapters: adapters, into: output, scratch: buffers.scratch)
            kept.keep(acts, model.kernels)
        }
        let head = try ContinuousClock().measure { _ = try self.head(batch, output, into: gradients) }.inSeconds
        func restore() {
            kept.restore(
                acts, layer: layer, model: model, attention: context, adapters: adapters, scratch: buffers.scratch)
        }
        // What is recomputed is reckoned from the forward's time.
        let restoring = kept.recompute == .nothing ? second(restore) : 0
        restore()
        let backward = second {
            propagate(layer, acts, dx, batch.batch, adapters, into: gradients, throughInput: true)
        }
        return (forward, restoring + backward, head)
    }
}

extension Duration {
    /// This duration in seconds.
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
