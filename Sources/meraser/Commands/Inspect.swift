import ArgumentParser
import Quant

struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a model file or folder holds.",
        discussion: "--verify reads everything and compares the checksums of an MQF file.")

    @Argument(help: "An MQF file or a Hugging Face folder.", completion: .file())
    var file: String

    @Flag(help: "Read everything and check all checksums.")
    var verify = false

    @Flag(help: "List the tensors.")
    var tensors = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let store = try openWeightStore(path: file)
        let summary = try InspectSummary(store, listingTensors: tensors, verifying: verify)
        if common.json { try Console.json(summary) } else { Console.output(summary.text) }
    }
}

/// What `inspect` prints.
private struct InspectSummary: Encodable {
    struct Tensor: Encodable {
        let name: String
        let type: String
        let shape: [Int]
        let bytes: Int
    }

    let path: String
    let format: String
    let bytes: Int
    let parameters: Int
    let tensorCount: Int
    let types: [String: Int]
    let metadata: [String: String]
    let tensors: [Tensor]?
    let sha256: String?
    let verified: Bool

    enum CodingKeys: String, CodingKey {
        case path, format, bytes, parameters, types, metadata, tensors, sha256, verified
        case tensorCount = "tensor_count"
    }

    init(_ store: any WeightStore, listingTensors: Bool, verifying: Bool) throws {
        let infos = try store.tensorNames.map { try store.tensor($0).info }
        let mqf = store as? MQFFile
        path = store.path
        format = mqf.map { "MQF version \($0.version)" } ?? "safetensors"
        bytes = mqf?.byteCount ?? infos.reduce(0) { $0 + $1.byteCount }
        parameters = infos.reduce(0) { $0 + $1.elementCount }
        tensorCount = infos.count
        types = infos.reduce(into: [:]) { $0[$1.type.name, default: 0] += 1 }
        metadata = mqf.map { $0.metadata.briefTexts } ?? [:]
        tensors =
            listingTensors
            ? infos.map { Tensor(name: $0.name, type: $0.type.name, shape: $0.shape, bytes: $0.byteCount) } : nil
        if verifying { try store.verify() }
        sha256 = verifying ? try store.sha256() : nil
        verified = verifying
    }

    var text: String {
        let counts = types.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        var lines = [
            "\(path): \(format), \(byteText(bytes))", "\(tensorCount) tensors (\(counts)), \(parameters) parameters",
        ]
        lines += metadata.sorted { $0.key < $1.key }.map { "  \($0.key) = \($0.value)" }
        lines += (tensors ?? []).map { tensor in
            let shape = tensor.shape.map(String.init).joined(separator: " × ")
            return "  \(tensor.name)  \(tensor.type)  \(shape)  \(byteText(tensor.bytes))"
        }
        if let sha256 { lines.append("verified; sha256 \(sha256)") }
        return lines.map { $0.escapingControlCharacters() }.joined(separator: "\n")
    }
}

extension Metadata {
    /// Every key with its value in a few words.
    fileprivate var briefTexts: [String: String] {
        keys.reduce(into: [:]) { result, key in
            if let text = string(key) {
                result[key] =
                    key.hasPrefix(MQFFile.filePrefix) || text.utf8.count > 120
                    ? "\(text.utf8.count) bytes of text" : text
            } else if array(key) != nil {
                let count = strings(key)?.count ?? ints(key)?.count ?? floats(key)?.count
                result[key] = count.map { "array of \($0)" } ?? "array"
            } else if let flag = bool(key) {
                result[key] = "\(flag)"
            } else if let number = int(key) {
                result[key] = "\(number)"
            } else if let number = float(key) {
                result[key] = "\(number)"
            }
        }
    }
}
