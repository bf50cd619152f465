import Foundation
import Quant
import Yams

/// The most values that a YAML file may hold, aliases expanded.
private let maximumValues = 100_000
/// The deepest nesting that is read.
private let maximumDepth = 32

/// Reads one YAML document as a JSON value.
///
/// Plain scalars follow YAML 1.2's core schema (`5e-3` is a number, `no` is a text); quoted ones are texts. Keys must be
/// texts and are distinct.
/// - Parameter file: the name that errors show.
/// - Throws: a bad-input error that names file and line.
public func parseYAML(_ bytes: [UInt8], file: String) throws -> JSONValue {
    guard bytes.count <= 1 << 20 else {
        throw MeraserError.badInput("\(file): \(bytes.count) bytes of YAML, expected at most \(1 << 20)")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
        throw MeraserError.badInput("\(file): not valid UTF-8, expected YAML")
    }
    let root: Node?
    do {
        root = try Yams.compose(yaml: text)
    } catch {
        let lines = "\(error)".split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        throw MeraserError.badInput("\(file): invalid YAML: \(lines.joined(separator: " "))")
    }
    guard let root else { throw MeraserError.badInput("\(file): empty, expected YAML") }
    var converter = YAMLConverter(file: file)
    return try converter.convert(root, depth: 0)
}

private struct YAMLConverter {
    let file: String
    var count = 0

    mutating func convert(_ node: Node, depth: Int) throws -> JSONValue {
        count += 1
        guard count <= maximumValues, depth <= maximumDepth else {
            throw error(node, "more than \(maximumValues) values or \(maximumDepth) levels")
        }
        switch node {
        case .scalar(let scalar):
            return scalar.style == .plain ? plainValue(scalar.string) : .text(scalar.string)
        case .sequence(let sequence):
            return .array(try sequence.map { try convert($0, depth: depth + 1) })
        case .mapping(let mapping):
            var keys: Set<JSONString> = []
            let members = try mapping.map { key, value in
                guard case .scalar(let scalar) = key else { throw error(key, "a key that is no text") }
                guard keys.insert(JSONString(scalar.string)).inserted else {
                    throw error(key, "duplicate key '\(scalar.string)'")
                }
                return (key: scalar.string, value: try convert(value, depth: depth + 1))
            }
            return .object(JSONObject(members))
        case .alias:
            throw error(node, "an alias without an anchor")
        }
    }

    private func plainValue(_ text: String) -> JSONValue {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .bool(true)
        case "false", "False", "FALSE": return .bool(false)
        default:
            guard text.utf8.allSatisfy({ "+-.0123456789eE".utf8.contains($0) }) else { return .text(text) }
            if let whole = Int(text) { return .integer(whole) }
            if let number = Double(text), number.isFinite { return .number(number) }
            return .text(text)
        }
    }

    private func error(_ node: Node, _ what: String) -> MeraserError {
        .badInput("\(file):\(node.mark?.line ?? 1): \(what)")
    }
}
