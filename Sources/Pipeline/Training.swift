import Audit
import Model
import Quant
import Tune

extension OpenedModel {
    /// A trainer of one adapter on top of this model's adapters, with the probe that the options ask for.
    ///
    /// - Parameter key: the key to measure, in place of the file that `options.key` names.
    /// - Throws: `usage` and `badInput` errors of options and key.
    public func trainer(data: EncodedDataset, options: TrainingOptions, key: FingerprintKey? = nil) throws -> Trainer {
        let trainer = try Trainer(model: transformer, frozen: adapters, data: data, options: options)
        if let probe = try KeyProbe(options: options, key: key, model: self) {
            trainer.probe = { _, adapter in try probe.measure(adapter) }
        }
        return trainer
    }
}
