import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport

/// The bundled model, ready to be tested.
struct Tinychat {
    let session: InferenceSession
    let tokenizer: Tokenizer

    init(tokenBudget: Int = 512) throws {
        let store = try openWeightStore(path: tinychatFolder().path)
        let model = try Transformer(store: store, kernels: try KernelContext(threads: 2))
        session = InferenceSession(model: model, tokenBudget: tokenBudget)
        tokenizer = try Tokenizer(store: store)
    }

    /// A second session on the same weights.
    func another() -> InferenceSession { InferenceSession(model: session.model) }
}

/// A value of a JSON fixture of this target.
func fixture(_ name: String) throws -> JSONValue {
    try JSONValue.parse([UInt8](Data(contentsOf: fixtureURL(name))), file: name)
}

/// A fixture of this target.
func fixtureURL(_ name: String) -> URL {
    packageRoot().appendingPathComponent("Tests/AuditTests/Fixtures/\(name)")
}

/// The keys of a JSON object, in its order.
func keys(_ value: JSONValue?) -> [String] { value?.object?.members.map(\.key.string) ?? [] }
