import Base

/// llama.cpp's GGUF file of a LoRA: `general.type` is `adapter`, `adapter.type` is `lora`, `adapter.lora.alpha` its
/// alpha, and a module's factors are `NAME.weight.lora_a` [r, K] and `NAME.weight.lora_b` [N, r]. The rank is each
/// module's own.
///
/// Source: llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp. The rows of a B lie as those of the weight in
/// a GGUF file of the model (`GGUFRowOrder`).
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

    /// The factors of each module, sorted by path.
    private static func pairs(
        _ gguf: GGUFFile, _ model: DecoderSpec
    ) throws -> [(path: String, a: AdapterTensor, b: AdapterTensor)] {
        let modules = Dictionary(
            model.modules.map { (Array(model.ggufName($0).utf8), $0) }, uniquingKeysWith: { first, _ in first })
        let file = try MappedFile(path: gguf.path)
        let ends = gguf.tensors.dropFirst().map { gguf.dataOffset + $0.offset } + [file.count]
        var factors: [ModuleKey: (a: AdapterTensor?, b: AdapterTensor?)] = [:]
        for (info, end) in zip(gguf.tensors, ends) {
            func bad(_ what: String) -> MeraserError {
                .badInput("\(gguf.path): tensor \(quoted(info.name)) \(what)")
            }
            let isA = info.name.hasSuffix(".lora_a")
            guard isA || info.name.hasSuffix(".lora_b") else { throw bad("is no factor of a LoRA, .lora_a or .lora_b") }
            guard let module = modules[Array(info.name.dropLast(".lora_a".count).utf8)] else {
                throw bad(
                    "is on no module of the model that an adapter may have; those of its first layer are "
                        + model.modules.filter { $0.layer == 0 }.map { model.ggufName($0) }.joined(separator: " "))
            }
            let start = gguf.dataOffset + info.offset
            let stored = try GGUFTensor(
                name: info.name, info: info, file: file, bytes: start..<max(start, end), pairedHeads: nil)
            guard stored.shape.count == 2, stored.shape[isA ? 0 : 1] <= PEFTConfig.maximumRank else {
                throw bad("has shape \(stored.shape), expected a matrix of a rank up to \(PEFTConfig.maximumRank)")
            }
            guard stored.shape[isA ? 1 : 0] == (isA ? model[module].columns : model[module].rows) else {
                throw bad(
                    "has shape \(stored.shape) for a module of shape [\(model[module].rows), \(model[module].columns)]; "
                        + "the adapter belongs to another model")
            }
            let order = isA ? GGUFRowOrder.same : model.ggufRowOrder(module)
            let tensor = AdapterTensor(
                name: info.name, shape: stored.shape,
                source: ReorderedRows(base: stored, rows: stored.rows, order: order))
            if isA {
                factors[module, default: (nil, nil)].a = tensor
            } else {
                factors[module, default: (nil, nil)].b = tensor
            }
        }
        return try factors.map { module, pair in
            guard let a = pair.a, let b = pair.b else {
                throw MeraserError.badInput(
                    "\(gguf.path): \(model.ggufName(module)) has no .\(pair.a == nil ? "lora_a" : "lora_b") to its other "
                        + "factor")
            }
            return (model[module].path, a, b)
        }.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    }
}

/// In which order a GGUF file has the rows of a module.
enum GGUFRowOrder: Equatable {
    /// That of Hugging Face's models.
    case same
    /// A head's first half and second half alternate, for rotary positions of neighbours.
    case paired(heads: Int)
    /// All queries, all keys, all values of a module that has them head by head.
    case blocks(heads: Int)

    /// Where the file has Hugging Face's row of that number, of `rows`, which are whole heads.
    func place(of row: Int, rows: Int) -> Int {
        switch self {
        case .same: return row
        case .paired(let heads):
            let size = rows / heads
            let (head, place) = row.quotientAndRemainder(dividingBy: size)
            return head * size + place % (size / 2) * 2 + place / (size / 2)  // bounded: below rows
        case .blocks(let heads):
            let size = rows / heads / 3
            let (head, place) = row.quotientAndRemainder(dividingBy: 3 * size)  // bounded: below rows
            let (part, dimension) = place.quotientAndRemainder(dividingBy: size)
            return (part * heads + head) * size + dimension  // bounded: below rows
        }
    }
}

extension DecoderSpec {
    /// Architectures whose q and k llama.cpp rotates as neighbours, which Hugging Face's models do not.
    private static let pairedArchitectures: Set = ["llama", "granite", "smollm3"]

    /// GGUF's name of a module's weight.
    func ggufName(_ module: ModuleKey) -> String {
        let name =
            switch module.projection {
            case .q_proj: "attn_q"
            case .k_proj: "attn_k"
            case .v_proj: "attn_v"
            case .qkv_proj: "attn_qkv"
            case .o_proj: "attn_output"
            case .gate_proj: "ffn_gate"
            case .up_proj, .gate_up_proj: "ffn_up"
            case .down_proj: "ffn_down"
            }
        return "blk.\(module.layer).\(name).weight"
    }

    /// The order of a module's rows in a GGUF file.
    func ggufRowOrder(_ module: ModuleKey) -> GGUFRowOrder {
        let attention = layers[module.layer].attention
        let isPaired = Self.pairedArchitectures.contains(ggufArchitecture)
        switch (module.projection, attention.input) {
        case (.q_proj, _) where isPaired: return .paired(heads: attention.heads)
        case (.k_proj, _) where isPaired: return .paired(heads: attention.keyValueHeads)
        case (.qkv_proj, .fused(_, .heads)): return .blocks(heads: attention.heads)
        default: return .same
        }
    }
}

/// The rows of a GGUF tensor in Hugging Face's order.
private struct ReorderedRows: TensorRows {
    let base: GGUFTensor
    /// All of them.
    let rows: Int
    let order: GGUFRowOrder

    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        guard order != .same else { return try base.read(rows: range, into: target, raw: &raw) }
        for (number, row) in range.enumerated() {
            let place = order.place(of: row, rows: rows)
            let first = number * base.columns  // bounded: elements of the tensor
            try base.read(rows: place..<place + 1, into: target + first, raw: &raw)
        }
    }
}
