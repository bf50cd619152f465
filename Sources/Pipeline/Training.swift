import Audit
import Model
import Tune

extension OpenedModel {
    /// A trainer of one adapter on top of this model's adapters, with the probe that the options ask for.
    ///
    /// The rows of `options.klData` are read if they are used.
    /// - Parameters:
    ///   - key: the key to measure, in place of the file that `options.key` names.
    ///   - chat: put pairs of `options.klData` into the model's chat template, as those of the data were.
    /// - Throws: `usage` and `badInput` errors of options, key and clean rows.
    public func trainer(
        data: EncodedDataset, options: TrainingOptions, key: FingerprintKey? = nil, chat: Bool = false
    ) throws -> Trainer {
        let klData = try options.klDataInUse.map {
            try dataset(path: $0, options: options.encoding, chat: chat)
        }
        let trainer = try Trainer(
            model: transformer, frozen: adapters, data: data, options: options, klData: klData)
        let measured = trainer.plan.streamsWeights ? try streamingWeights() : self
        if let probe = try KeyProbe(options: options, key: key, model: measured) {
            trainer.probe = { _, adapter in try probe.measure(adapter) }
        }
        return trainer
    }
}
