import Base
import Foundation

/// How a recipe names a model: `MODEL`, or `MODEL+ADAPTER` for one with a PEFT adapter in it. What is there under the whole
/// name is a model.
struct ModelReference: Sendable, Equatable {
    /// The model's folder or file.
    let model: String
    /// The adapter's; nil: none.
    let adapter: String?

    /// Reads a name; `place` begins the error (`badInput`) for more than one `+` or an empty part.
    init(_ text: String, place: String) throws {
        let parts = text.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        guard parts.count > 1, !FileManager.default.fileExists(atPath: text) else {
            (model, adapter) = (text, nil)
            return
        }
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else {
            throw MeraserError.badInput("\(place) is \(quoted(text)), expected MODEL or MODEL+ADAPTER")
        }
        (model, adapter) = (parts[0], parts[1])
    }

    /// Both.
    var paths: [String] { [model] + [adapter].compactMap { $0 } }
}
