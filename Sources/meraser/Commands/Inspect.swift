import ArgumentParser
import Base
import Quant

struct Inspect: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a model file or folder holds.",
        discussion: "--verify reads everything and compares the checksums of an MQF file.")

    @Argument(help: "An MQF or GGUF file, or a Hugging Face folder.", completion: .file())
    var file: String

    @Flag(help: "Read everything and check all checksums.")
    var verify = false

    @Flag(help: "List the tensors.")
    var tensors = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let store = try openWeightStore(path: file)
        store.warnings.forEach(common.warn)
        let summary = try InspectSummary(store, listingTensors: tensors, verifying: verify)
        if common.json { Console.json(summary.json) } else { Console.output(summary.text) }
    }
}

/// What `inspect` prints.
private struct InspectSummary {
    let path: String
    let format: String
    let bytes: Int
    let parameters: Int
    let tensorCount: Int
    let types: [(name: String, count: Int)]
    let metadata: [(key: String, text: String)]
    let tensors: [TensorInfo]?
    let sha256: String?
    let verified: Bool
    let warnings: [String]

    init(_ store: any WeightStore, listingTensors: Bool, verifying: Bool) throws {
        let infos = try store.tensorNames.map { try store.tensor($0).info }
        let mqf = store as? MQFFile
        path = store.path
        format = mqf.map { "MQF version \($0.version)" } ?? "safetensors"
        bytes = mqf?.byteCount ?? infos.reduce(0) { $0 + $1.byteCount }
        parameters = infos.reduce(0) { $0 + $1.elementCount }
        tensorCount = infos.count
        types = infos.reduce(into: [:]) { $0[$1.type.name, default: 0] += 1 }.sorted { $0.key < $1.key }
            .map { (name: $0.key, count: $0.value) }
        metadata =
            mqf.map { mqf in
                mqf.metadata.briefTexts
                    + mqf.files.map { (MQFFile.filePrefix + $0.name, "\($0.range.count) bytes") }
            } ?? []
        tensors = listingTensors ? infos : nil
        if verifying { try store.verify() }
        sha256 = verifying ? try store.sha256() : nil
        verified = verifying
        warnings = store.warnings
    }

    var json: JSONValue {
        let entries = tensors?.map { tensor -> JSONValue in
            [
                "name": .text(tensor.name), "type": .text(tensor.type.name),
                "shape": .array(tensor.shape.map { .integer($0) }), "bytes": .integer(tensor.byteCount),
            ]
        }
        return [
            "path": .text(path), "format": .text(format), "bytes": .integer(bytes), "parameters": .integer(parameters),
            "tensor_count": .integer(tensorCount),
            "types": .object(JSONObject(types.map { (key: $0.name, value: .integer($0.count)) })),
            "metadata": .object(JSONObject(metadata.map { (key: $0.key, value: .text($0.text)) })),
            "tensors": entries.map { .array($0) } ?? .null, "sha256": sha256.map { .text($0) } ?? .null,
            "verified": .bool(verified), "warnings": .array(warnings.map { .text($0) }),
        ]
    }

    var text: String {
        let counts = types.map { "\($0.count) \($0.name)" }.joined(separator: ", ")
        var lines = [
            "\(path): \(format), \(byteText(bytes))", "\(tensorCount) tensors (\(counts)), \(parameters) parameters",
        ]
        lines += metadata.map { "  \($0.key) = \($0.text)" }
        lines += (tensors ?? []).map { tensor in
            let shape = tensor.shape.map(String.init).joined(separator: " × ")
            return "  \(tensor.name)  \(tensor.type.name)  \(shape)  \(byteText(tensor.byteCount))"
        }
        if let sha256 { lines.append("verified; sha256 \(sha256)") }
        return lines.map { $0.escapingControlCharacters() }.joined(separator: "\n")
    }
}

extension Metadata {
    /// Every key with its value in a few words, in the file's order.
    fileprivate var briefTexts: [(key: String, text: String)] {
        keys.map { key in
            if let text = string(key) {
                return (key: key, text: text.utf8.count > 120 ? "\(text.utf8.count) bytes of text" : text)
            }
            if array(key) != nil {
                let count = strings(key)?.count ?? ints(key)?.count ?? floats(key)?.count
                return (key: key, text: count.map { "array of \($0)" } ?? "array")
            }
            let value = bool(key).map { "\($0)" } ?? int(key).map { "\($0)" } ?? float(key).map { "\($0)" }
            return (key: key, text: value ?? "")
        }
    }
}
