import Audit
import Model
import Quant
import Tune

extension OpenedModel {
    /// A trainer of one adapter on top of this model's adapters, with the probe that the options ask for.
    ///
    /// The rows of `options.klData` are read if they are used, and so are those of `options.evalData` and the adapter of
    /// `options.initAdapter`.
    /// - Parameters:
    ///   - key: the key to measure, in place of the file that `options.key` names.
    ///   - chat: put pairs of `options.klData` into the model's chat template, as those of the data were.
    /// - Throws: `usage` and `badInput` errors of options, key and clean rows.
    public func trainer(
        data: EncodedDataset, options: TrainingOptions, key: FingerprintKey? = nil, chat: Bool = false
    ) throws -> Trainer {
        let klData = try options.klDataInUse.map {
            try dataset(path: $0, options: options.encoding, chat: chat, seed: options.seed)
        }
        let evalData = try options.evalData.map {
            try dataset(path: $0, options: options.rowEncoding, chat: chat, seed: options.seed)
        }
        var options = options
        let initial = try options.initAdapter.map(initialAdapter)
        if let initial { options.lora = initial.config }
        let trainer = try Trainer(
            model: transformer, frozen: adapters, data: data, options: options, klData: klData, evalData: evalData,
            initial: initial)
        let measured = trainer.plan.streamsWeights ? try streamingWeights() : self
        if let probe = try KeyProbe(options: options, key: key, model: measured) {
            trainer.probe = { _, adapter in try probe.measure(adapter) }
        }
        return trainer
    }

    /// An adapter that a training goes on with.
    ///
    /// - Throws: bad-input errors of its files; one if it was trained on another base, or on other adapters than are below it
    ///   here.
    private func initialAdapter(_ path: String) throws -> LoRAAdapter {
        let adapter = try LoRAAdapter(path: path, for: transformer.spec)
        var stack: [(name: String, sha256: String?, provenance: AdapterProvenance)] = zip(adapterPaths, adapters).map {
            ($0, $1.sha256, $1.provenance)
        }
        stack.append((path, adapter.sha256, adapter.provenance))
        try AdapterProvenance.validate(
            stack, base: transformer.store.path,
            baseSHA256: { try transformer.store.sha256() }, transfer: !transferred.isEmpty)
        return adapter
    }
}
