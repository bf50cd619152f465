import Tune

extension Recipe {
    /// The files and folders that a run of it reads, which its output must not replace.
    public var inputs: [String] {
        var paths = [path, model] + adapters
        paths += [clean, perplexity?.data, evaluation?.data, relearn?.source.path, reference, scan?.reference]
            .compactMap { $0 }
        var rows = [auto?.data, scan?.data]
        if case .path(let path) = source { paths.append(path) }
        if case .other(let path) = donor { paths.append(path) }
        for training in [erase, recover].compactMap({ $0 }) {
            rows += [training.rows.path, training.options.klDataInUse, training.options.evalData]
            paths += [training.options.initAdapter].compactMap { $0 }
        }
        switch mark {
        case .given(let key): paths.append(key)
        case .made(let options):
            rows += [options.cleanData, options.training.klDataInUse]
        }
        return paths + rows.compactMap { $0 }.flatMap { (try? DatasetList($0).paths) ?? [$0] }
    }
}

extension SearchPlan {
    /// The files and folders that a search reads.
    public var inputs: [String] { recipe.inputs + [reference].compactMap { $0 } }
}
