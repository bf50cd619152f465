import Base

/// llama.cpp's GGUF file of a LoRA: `general.type` is `adapter`, `adapter.type` is `lora`, `adapter.lora.alpha` its
/// alpha, and a module's factors are `NAME.weight.lora_a` [r, K] and `NAME.weight.lora_b` [N, r]. The rank is each
/// module's own.
///
/// Source: llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp. The rows of a B lie as those of the weight in
/// a GGUF file of the model (`GGUFLayout`).
extension AdapterFile {
    init(gguf: GGUFFile, for model: DecoderSpec) throws {
        let (path, metadata) = (gguf.path, gguf.metadata)
        func require(_ key: String, _ expected: String, _ what: String) throws {
            guard metadata.string(key) == expected else {
                throw MeraserError.badInput(
                    "\(path): '\(key)' is \(metadata.string(key).map { quoted($0) } ?? "missing"), expected \(what)")
            }
        }
        try require("general.type", "adapter", "'adapter': this is no adapter")
        try require("adapter.type", "lora", "'lora'")
        try require("general.architecture", model.ggufArchitecture, "that of the model, '\(model.ggufArchitecture)'")
        guard let alpha = metadata.float("adapter.lora.alpha"), alpha.isFinite, abs(alpha) <= 1e6 else {
            throw MeraserError.badInput("\(path): 'adapter.lora.alpha' is missing or no number of at most 1e6")
        }
        if let key = metadata.keys.first(where: { $0.hasPrefix("adapter.alora.") }) {
            throw MeraserError.badInput("\(path): '\(key)': an adapter that only some tokens switch on is not read")
        }
        let pairs = try Self.pairs(gguf, model)
        guard let common = pairs.first?.a.rows else { throw MeraserError.badInput("\(path) has no tensors") }
        // An alpha of 0 stands for a factor of 1.
        func alphaOf(_ rank: Int) -> Double { alpha == 0 ? Double(rank) : alpha }
        let others = pairs.filter { $0.a.rows != common }
        let config = PEFTConfig(
            r: common, loraAlpha: alphaOf(common), targets: .names(pairs.map(\.path)),
            rankPattern: others.map { (key: $0.path, value: $0.a.rows) },
            alphaPattern: alpha == 0 ? others.map { (key: $0.path, value: alphaOf($0.a.rows)) } : [])
        let modules = try pairs.map {
            try AdapterModule(path: $0.path, a: $0.a, b: $0.b, magnitude: nil, config: config, file: path)
        }
        self.init(
            path: path, config: config, modules: modules, saved: [:], sha256: try sha256Hex(ofFile: path),
            provenance: AdapterProvenance())
    }

    /// The two factors of a module.
    private typealias Pair = (a: AdapterTensor?, b: AdapterTensor?)

    /// The factors of each module, sorted by path.
    private static func pairs(
        _ gguf: GGUFFile, _ model: DecoderSpec
    ) throws -> [(path: String, a: AdapterTensor, b: AdapterTensor)] {
        let layout = GGUFLayout(model)
        let modules = Dictionary(model.modules.map { (model[$0].weight, model[$0]) }, uniquingKeysWith: { a, _ in a })
        let file = try MappedFile(path: gguf.path)
        let ends = gguf.tensors.dropFirst().map { gguf.dataOffset + $0.offset } + [file.count]
        var factors: [String: Pair] = [:]
        for (info, end) in zip(gguf.tensors, ends) {
            func bad(_ what: String) -> MeraserError {
                .badInput("\(gguf.path): tensor \(quoted(info.name)) \(what)")
            }
            let isA = info.name.hasSuffix(".lora_a")
            guard isA || info.name.hasSuffix(".lora_b") else { throw bad("is no factor of a LoRA, .lora_a or .lora_b") }
            let places = layout.places[String(info.name.dropLast(".lora_a".count))] ?? []
            let linears = places.compactMap { modules[$0.name] }
            guard !linears.isEmpty, linears.count == places.count else {
                throw bad("is on no module that an adapter may have; those are q, k, v, o and the MLP of each layer")
            }
            let start = gguf.dataOffset + info.offset
            for (place, linear) in zip(places, linears) {
                // Outputs that the file has in one tensor have one A.
                let tensor = try GGUFTensor(
                    isA ? GGUFLayout.Place(name: info.name) : place, info: info, file: file,
                    bytes: start..<max(start, end))
                guard tensor.shape.count == 2, tensor.shape[isA ? 0 : 1] <= PEFTConfig.maximumRank else {
                    throw bad("has shape \(tensor.shape), expected a matrix of a rank up to \(PEFTConfig.maximumRank)")
                }
                guard tensor.shape[isA ? 1 : 0] == (isA ? linear.columns : linear.rows) else {
                    throw bad(
                        "has shape \(tensor.shape) for a module of shape [\(linear.rows), \(linear.columns)]; the "
                            + "adapter belongs to another model")
                }
                let factor = AdapterTensor(name: info.name, shape: tensor.shape, source: tensor)
                if isA {
                    factors[linear.path, default: (nil, nil)].a = factor
                } else {
                    factors[linear.path, default: (nil, nil)].b = factor
                }
            }
        }
        return try factors.map { path, pair in
            guard let a = pair.a, let b = pair.b else {
                throw MeraserError.badInput(
                    "\(gguf.path): \(path) has no \(pair.a == nil ? "lora_a" : "lora_b") to its other factor")
            }
            return (path, a, b)
        }.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    }
}
