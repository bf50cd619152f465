import Model
import Quant
import Tune

/// What a dataset is like, with its lengths in the tokens of a model if one is given: only its tokenizer is read.
///
/// Conversations are counted in the model's chat template, where it has one.
/// - Throws: bad-input errors of the dataset, the tokenizer or the template.
public func datasetStatistics(
    path: String, removing columns: [String] = [], model: String?
) throws -> DatasetStatistics {
    guard let model else { return try DatasetStatistics(path: path, removing: columns) }
    let store = try openWeightStore(path: model)
    let tokenizer = try Tokenizer(store: store)
    return try DatasetStatistics(
        path: path, removing: columns, tokenizer: tokenizer,
        chatTemplate: try ChatTemplate.load(store: store, specialTokens: tokenizer.specialTokens))
}
