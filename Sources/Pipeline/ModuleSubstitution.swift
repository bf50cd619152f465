import Base
import Kernels
import Merge
import Model
import Quant
import Tune

extension OpenedModel {
    /// Searches for the modules of this model that a proxy's are to stand in for, so that suspect rows are no longer answered
    /// as they are while clean ones are.
    ///
    /// - Parameters:
    ///   - proxy: a model of the same shapes.
    ///   - clean: rows whose labels it should find likeliest.
    ///   - suspect: rows whose labels it should not.
    ///   - interrupt: looked at between models.
    ///   - progress: called behind each model with how many were measured.
    /// - Throws: a usage error for adapters, a bad-input error for a proxy of another shape, `interrupted`.
    public func substitution(
        by proxy: OpenedModel, clean: EncodedDataset, suspect: EncodedDataset, search: SubstitutionSearch,
        interrupt: InterruptFlag? = nil, progress: (Int) -> Void = { _ in }
    ) throws -> SubstitutionSearch.Result {
        guard adapters.isEmpty, proxy.adapters.isEmpty else {
            throw MeraserError.usage(
                "substitute copies weights: write the adapters into them first (meraser export)")
        }
        let (victim, other) = (transformer, proxy.transformer)
        try requireSameModules(other)
        try requireSameTokens(proxy, path: other.store.path)
        var count = 0
        func measures(_ model: Transformer) throws -> SubstitutionMeasures {
            if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; nothing was written") }
            defer {
                count += 1
                progress(count)
            }
            return SubstitutionMeasures(
                accuracy: try model.tokenAccuracy(clean.samples), success: try model.tokenAccuracy(suspect.samples))
        }
        let all = Substitution(
            projections: Set(victim.spec.modules.map(\.projection)),
            layers: Set(0..<victim.spec.numHiddenLayers))
        return try search.run(from: all, victim: try measures(victim)) { substitution in
            try measures(
                victim.substituting(substitution.projections, layers: substitution.layers, from: other))
        }
    }

    /// - Throws: a bad-input error if a module of the other model has another shape, or is not there.
    private func requireSameModules(_ other: Transformer) throws {
        let (own, theirs) = (transformer.spec, other.spec)
        guard own.modules == theirs.modules,
            own.modules.allSatisfy({
                own[$0].rows == theirs[$0].rows && own[$0].columns == theirs[$0].columns
                    && own[$0].hasBias == theirs[$0].hasBias
            })
        else {
            throw MeraserError.badInput(
                "\(other.store.path): its modules have not the shapes of those of \(transformer.store.path); a proxy is of "
                    + "the same architecture and size")
        }
    }
}

extension Transformer {
    /// The share of labels that this model finds likeliest where they are to come.
    func tokenAccuracy(_ samples: [TrainingSample]) throws -> Double {
        let session = InferenceSession(model: self)
        var (right, count) = (0, 0)
        for sample in samples {
            let hidden = try session.hiddenStates(PackedBatch([sample.inputs]))
            try session.forEachLogits(of: hidden) { range, logits in
                for row in range where sample.labels[row] >= 0 {
                    count += 1
                    right += logits.withRow(row - range.lowerBound) { values in
                        let label = Int(sample.labels[row])
                        return values.allSatisfy { $0 <= values[label] } ? 1 : 0
                    }
                }
            }
        }
        return Double(right) / Double(max(count, 1))
    }
}
