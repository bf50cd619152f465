import Base

/// What a linear layer of a decoder layer is for; an adapter targets it. The names are Llama's; an architecture's own names
/// for them are its `projections`.
public enum Projection: String, Sendable, CaseIterable, Hashable {
    // swift-format-ignore: AlwaysUseLowerCamelCase
    case q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, qkv_proj, gate_up_proj

    /// Number among the places of a layer: fused modules take that of the first that they stand for.
    public var index: Int {
        switch self {
        case .q_proj, .qkv_proj: 0
        case .k_proj: 1
        case .v_proj: 2
        case .o_proj: 3
        case .gate_proj, .gate_up_proj: 4
        case .up_proj: 5
        case .down_proj: 6
        }
    }

    /// True for the attention's modules.
    public var isAttention: Bool { index < 4 }

    /// The number of places.
    public static let count = 7

    /// Those that stand for one thing: in a model with fused modules they mean the fused ones.
    public static let parts: Set<Projection> = [
        .q_proj, .k_proj, .v_proj, .o_proj, .gate_proj, .up_proj, .down_proj,
    ]

    /// The module that does its work in a model that fuses it.
    var fused: Projection? {
        switch self {
        case .q_proj, .k_proj, .v_proj: .qkv_proj
        case .gate_proj, .up_proj: .gate_up_proj
        case .o_proj, .down_proj, .qkv_proj, .gate_up_proj: nil
        }
    }

    /// The words that `target_modules` may have: Llama's names, then those of other architectures.
    public static var moduleNames: [String] { allCases.map(\.rawValue) + Architectures.projections.keys.sorted() }

    /// The one that a word of `target_modules` means: a case's name, or an architecture's own name for it.
    public init?(moduleName: String) {
        guard let projection = Projection(rawValue: moduleName) ?? Architectures.projections[moduleName] else {
            return nil
        }
        self = projection
    }
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

extension LayerSpec {
    /// The linear layer of that role; nil where the layer has none.
    public subscript(projection: Projection) -> LinearSpec? {
        switch projection {
        case .q_proj, .k_proj, .v_proj, .qkv_proj: attention[projection]
        case .o_proj: attention.output
        case .gate_proj, .up_proj, .gate_up_proj: mlp[projection]
        case .down_proj: mlp.down
        }
    }
}

extension AttentionSpec {
    fileprivate subscript(projection: Projection) -> LinearSpec? {
        switch (input, projection) {
        case (.separate(let q, _, _), .q_proj): q
        case (.separate(_, let k, _), .k_proj): k
        case (.separate(_, _, let v), .v_proj): v
        case (.fused(let qkv, _), .qkv_proj): qkv
        default: nil
        }
    }
}

extension MLPSpec {
    fileprivate subscript(projection: Projection) -> LinearSpec? {
        switch (input, projection) {
        case (.gated(let gate, _), .gate_proj): gate
        case (.gated(_, let up), .up_proj): up
        case (.plain(let up), .up_proj): up
        case (.fusedGate(let both), .gate_up_proj): both
        default: nil
        }
    }
}

extension DecoderSpec {
    /// The linear layer of that module, which must be one of `modules`.
    public subscript(module: ModuleKey) -> LinearSpec {
        guard let linear = layers[module.layer][module.projection] else {
            preconditionFailure("layer \(module.layer) has no \(module.projection.rawValue)")
        }
        return linear
    }

    /// Every module that an adapter may target, in the order of the forward pass.
    public var modules: [ModuleKey] { modules(of: Projection.parts) }

    /// Checks a list of `target_modules` against the model; all parts at once are whatever it has of them.
    ///
    /// - Throws: a usage error that names one that the model does not have, and those that it has.
    public func requireModules(of projections: Set<Projection>) throws {
        if projections.isSuperset(of: Projection.parts) { return }
        let missing = Projection.allCases.filter { projections.contains($0) && modules(of: [$0]).isEmpty }
        guard let first = missing.first else { return }
        let names = modules.filter { $0.layer == 0 }.map { self[$0].name }
        throw MeraserError.usage(
            "target_modules: a \(architecture) has no \(first.rawValue); its modules are "
                + names.joined(separator: " "))
    }

    /// Checks a list of `layers_to_transform` against the model.
    ///
    /// - Throws: a usage error that names one that the model does not have, and how many it has.
    public func requireLayers(_ chosen: [Int]) throws {
        guard let missing = chosen.first(where: { !layers.indices.contains($0) }) else { return }
        throw MeraserError.usage(
            "layers_to_transform: there is no layer \(missing); this \(architecture) has layers 0 to \(layers.count - 1)"
        )
    }

    /// The modules that do the work of those projections in those layers, or (none named) in every layer: where the model
    /// fuses one with others, the fused module.
    public func modules(of projections: Set<Projection>, layers chosen: [Int] = []) -> [ModuleKey] {
        (chosen.isEmpty ? Array(layers.indices) : chosen).flatMap { layer in
            Set(
                projections.compactMap { projection -> ModuleKey? in
                    let found = layers[layer][projection] == nil ? projection.fused : projection
                    return found.flatMap { found in
                        layers[layer][found] == nil ? nil : ModuleKey(layer: layer, projection: found)
                    }
                }
            ).sorted()
        }
    }
}
