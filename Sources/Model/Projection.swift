/// The seven linear layers of a decoder layer that an adapter may target, by their Hugging Face names.
public enum Projection: String, Sendable, CaseIterable, Hashable {
    // swift-format-ignore: AlwaysUseLowerCamelCase
    case q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj

    /// Module path inside a decoder layer, for example `self_attn.q_proj`.
    public var modulePath: String {
        switch self {
        case .q_proj, .k_proj, .v_proj, .o_proj: "self_attn.\(rawValue)"
        case .gate_proj, .up_proj, .down_proj: "mlp.\(rawValue)"
        }
    }

    /// Index among all cases; with the layer it numbers a module's place in the model.
    public var index: Int {
        switch self {
        case .q_proj: 0
        case .k_proj: 1
        case .v_proj: 2
        case .o_proj: 3
        case .gate_proj: 4
        case .up_proj: 5
        case .down_proj: 6
        }
    }

    /// The number of cases.
    static let count = allCases.count
}

/// One linear layer of a model: its decoder layer and which projection it is.
public struct ModuleKey: Hashable, Sendable, Comparable {
    /// Decoder layer, from 0.
    public let layer: Int
    /// Which of the layer's projections.
    public let projection: Projection

    /// The module of that layer.
    public init(layer: Int, projection: Projection) {
        self.layer = layer
        self.projection = projection
    }

    /// Hugging Face's module path, for example `model.layers.3.self_attn.q_proj`.
    public var path: String { "model.layers.\(layer).\(projection.modulePath)" }

    /// Number of this place in the model; keys dropout.
    public var site: Int { layer * Projection.count + projection.index }

    /// Order of the forward pass.
    public static func < (a: ModuleKey, b: ModuleKey) -> Bool { a.site < b.site }
}
