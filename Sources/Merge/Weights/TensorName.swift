/// A tensor's name with the place of its layer number: the first component that is a number, as in
/// `model.layers.3.mlp.up_proj.weight` or `bert.encoder.layer.3.output.dense.bias`.
struct TensorName: Sendable {
    /// The name.
    let text: String
    /// The layer, nil for tensors outside the layers.
    let layer: Int?
    private let prefix: String
    private let suffix: String

    init(_ text: String) {
        self.text = text
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        // The first and last components name a module and a parameter.
        let index = parts.indices.dropFirst().dropLast().first { i in
            !parts[i].isEmpty && parts[i].utf8.count <= 6 && parts[i].utf8.allSatisfy { (48...57).contains($0) }
        }
        layer = index.flatMap { Int(parts[$0]) }
        prefix = index.map { parts[..<$0].joined(separator: ".") } ?? text
        suffix = index.map { parts[($0 + 1)...].joined(separator: ".") } ?? ""
    }

    /// The same tensor of another layer.
    func inLayer(_ layer: Int) -> String { self.layer == nil ? text : "\(prefix).\(layer).\(suffix)" }

    /// The same for all layers.
    var template: String { layer == nil ? text : "\(prefix).*.\(suffix)" }

    /// True for tensors that come before the layers: the embeddings.
    var isBeforeLayers: Bool {
        layer == nil && !text.hasPrefix("embed_out")
            && (text.contains("embed") || text.contains("wte.") || text.contains("wpe."))
    }
}
