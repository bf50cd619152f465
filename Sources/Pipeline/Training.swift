import Model
import Quant
import Tune

extension OpenedModel {
    /// A trainer of one adapter on top of this model's adapters, with the probe that the options ask for.
    ///
    /// - Throws: `usage` and `badInput` errors of options and key.
    public func trainer(data: EncodedDataset, options: TrainingOptions) throws -> Trainer {
        let trainer = try Trainer(model: transformer, frozen: adapters, data: data, options: options)
        if let probe = try KeyProbe(options: options, model: self) {
            trainer.probe = { _, adapter in try probe.measure(adapter) }
        }
        return trainer
    }
}
