import Base
import Model
import Quant

extension OpenedModel {
    /// Another model, without adapters, whose tokens mean the same: what this one is judged by.
    ///
    /// - Throws: what opening it throws; a bad-input error if a token differs.
    public func reference(path: String) throws -> OpenedModel {
        let other = try OpenedModel(path: path, kernels: transformer.kernels, compute: nil)
        try requireSameTokens(other, path: path)
        return other
    }

    /// - Throws: a bad-input error if a token of the model at that path differs.
    func requireSameTokens(_ other: OpenedModel, path: String) throws {
        let count = max(tokenizer.vocabularySize, other.tokenizer.vocabularySize)
        let first = (0..<Int32(count)).first { tokenizer.tokenBytes($0) != other.tokenizer.tokenBytes($0) }
        if let first {
            throw MeraserError.badInput(
                "\(path): token \(first) is '\(String(decoding: other.tokenizer.tokenBytes(first), as: UTF8.self))' but "
                    + "'\(String(decoding: tokenizer.tokenBytes(first), as: UTF8.self))' in \(transformer.store.path); "
                    + "a reference needs the same tokenizer")
        }
    }
}
