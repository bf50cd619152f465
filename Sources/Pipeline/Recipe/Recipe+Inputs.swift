import Tune

extension Recipe {
    /// The files and folders that a run of it reads, which its output must not replace.
    public var inputs: [String] {
        var paths =
            [path, model] + adapters
            + [key, clean, perplexity?.data, evaluation?.data, relearn?.data]
            .compactMap { $0 }
        if case .other(let path) = donor { paths.append(path) }
        for training in [erase, recover].compactMap({ $0 }) {
            paths += [training.data, training.mismatch, training.options.klDataInUse].compactMap { $0 }
        }
        paths += [fingerprint?.cleanData, fingerprint?.training.klDataInUse].compactMap { $0 }
        return paths
    }
}

extension SearchPlan {
    /// The files and folders that a search reads.
    public var inputs: [String] { recipe.inputs + [cleanModel].compactMap { $0 } }
}
