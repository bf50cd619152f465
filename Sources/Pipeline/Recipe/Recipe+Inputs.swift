import Tune

extension Recipe {
    /// The files and folders that a run of it reads, which its output must not replace.
    public var inputs: [String] {
        var paths = [path, model] + adapters
        paths += [clean, perplexity?.data, evaluation?.data, relearn?.source.path, reference, auto?.data].compactMap {
            $0
        }
        if case .path(let path) = source { paths.append(path) }
        if case .other(let path) = donor { paths.append(path) }
        for training in [erase, recover].compactMap({ $0 }) {
            paths += [training.rows.path, training.options.klDataInUse].compactMap { $0 }
        }
        switch mark {
        case .given(let key): paths.append(key)
        case .made(let options):
            paths += [options.cleanData, options.training.klDataInUse].compactMap { $0 }
        }
        return paths
    }
}

extension SearchPlan {
    /// The files and folders that a search reads.
    public var inputs: [String] { recipe.inputs + [reference].compactMap { $0 } }
}
