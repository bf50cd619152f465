import Merge
import Model
import Quant
import Tune

extension OpenedModel {
    /// Scores of heads and channels by the first-order change of the mean loss on a calibration set if they went.
    ///
    /// - Parameters:
    ///   - data: the calibration set; every token that it labels counts alike.
    ///   - interrupt: looked at between layers.
    ///   - progress: called between samples with samples done and in all.
    /// - Throws: a runtime error if the loss is not finite, `interrupted`.
    public func taylorScores(
        on data: EncodedDataset, interrupt: InterruptFlag? = nil, progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> [PruneScores] {
        // An adapter that adds nothing: the graph is made for one.
        let idle = LoRAAdapter(
            config: LoRAConfig(r: 1, loraAlpha: 1, loraDropout: 0, targetModules: [.q_proj]), for: transformer.spec)
        let graph = TrainingGraph(
            model: transformer, frozen: adapters, trained: idle, maximumTokens: data.longest, throughEmbeddings: true)
        let importance = PartImportance(transformer.spec)
        graph.importance = importance
        graph.interrupt = interrupt
        let gradients = LoRAAdapter(layoutOf: idle)
        let weight = 1 / Float(max(1, data.labelCount))
        for (index, sample) in data.samples.enumerated() {
            let batch = LabelledBatch(
                batch: PackedBatch([sample.inputs]), labels: sample.labels,
                weights: sample.labels.map { $0 >= 0 ? weight : 0 }, samples: sample.inputs.map { _ in 0 })
            _ = try graph.accumulate(batch, into: gradients)
            progress(index + 1, data.samples.count)
        }
        return zip(importance.groups, importance.channels).map { groups, channels in
            PruneScores(groups: groups.map(abs), channels: channels.map(abs))
        }
    }
}
