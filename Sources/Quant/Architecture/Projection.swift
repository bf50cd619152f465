/// The linear layers of a decoder layer that an adapter may target, by their Hugging Face names.
public enum Projection: String, Sendable, CaseIterable, Hashable {
    // swift-format-ignore: AlwaysUseLowerCamelCase
    case q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj

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

/// One linear layer of a model: its decoder layer and which projection it is. `DecoderSpec` says where it lies.
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

    /// Number of this place in the model; keys dropout and initialisation, so it never changes.
    public var site: Int { layer * Projection.count + projection.index }

    /// Order of the forward pass.
    public static func < (a: ModuleKey, b: ModuleKey) -> Bool { a.site < b.site }
}

extension DecoderSpec {
    /// The linear layer of that module.
    public subscript(module: ModuleKey) -> LinearSpec { layers[module.layer][module.projection] }

    /// Every module that an adapter may target, in the order of the forward pass.
    public var modules: [ModuleKey] {
        layers.indices.flatMap { layer in
            Projection.allCases.map { ModuleKey(layer: layer, projection: $0) }
        }
    }
}
