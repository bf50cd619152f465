import Base
import HTTPTypes
import Model
import Pipeline

/// What a server answers with: one model, and the same with adapters, by name. Thread-safe.
public struct ServedModel: Sendable {
    /// The names that a request may give as `model`; the first is the model without what a request would have to name.
    public let names: [String]
    /// The model that all are made from.
    public let transformer: Transformer
    /// Its tokenizer.
    public let tokenizer: Tokenizer
    /// Its chat template, if it has one.
    public let chatTemplate: ChatTemplate?

    /// What is served.
    ///
    /// - Parameters:
    ///   - opened: any of its models, for what they have in common.
    ///   - names: one a model.
    /// - Throws: a usage error for a name that is given twice or empty.
    public init(_ opened: OpenedModel, names: [String]) throws {
        for (index, name) in names.enumerated() {
            guard !name.isEmpty, !names[..<index].contains(name) else {
                throw MeraserError.usage(
                    "the model name \(quoted(name)) is empty or given twice; expected one of its own each")
            }
        }
        self.names = names
        transformer = opened.transformer
        tokenizer = opened.tokenizer
        chatTemplate = opened.chatTemplate
    }

    /// The number of the model that a request names; the first where it names none. Error: status 404.
    func index(of name: String?) throws -> Int {
        guard let name else { return 0 }
        guard let index = names.firstIndex(of: name) else {
            throw APIError(
                .notFound, "no model is called \(quoted(name)); expected one of \(names.joined(separator: ", "))",
                code: "model_not_found")
        }
        return index
    }
}
