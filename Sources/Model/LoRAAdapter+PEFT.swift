import Base
import Kernels
import Quant

extension LoRAAdapter {
    /// Loads a PEFT folder or a GGUF adapter for a model of that configuration; the factors become fp32.
    ///
    /// - Throws: a bad-input error that names file, module and the shapes found and expected.
    public convenience init(path: String, for model: DecoderSpec) throws {
        try self.init(AdapterFile(path: path, for: model), for: model)
    }

    /// The adapter of an opened file for a model of that configuration.
    public convenience init(_ file: AdapterFile, for model: DecoderSpec) throws {
        try file.requirePlain()
        let places = Dictionary(
            model.modules.map { (Array(model[$0].path.utf8), $0) }, uniquingKeysWith: { first, _ in first })
        let keyed = try file.modules.map { module -> (key: ModuleKey, module: AdapterModule) in
            guard let key = places[Array(module.path.utf8)] else {
                throw MeraserError.badInput(
                    "\(file.path): module '\(module.path)' is none of this model's, whose \(model.numHiddenLayers) layers "
                        + "have modules like "
                        + model.modules.filter { $0.layer == 0 }.map { model[$0].path }.joined(separator: " "))
            }
            let linear = model[key]
            for (tensor, expected) in [
                (module.a, [module.rank, linear.columns]), (module.b, [linear.rows, module.rank]),
            ] where tensor.shape != expected {
                throw MeraserError.badInput(
                    "\(file.path): tensor '\(tensor.name)' has shape \(tensor.shape), expected \(expected) "
                        + "for this model; the adapter belongs to another one")
            }
            return (key, module)
        }
        if let own = file.tokenRows { try Self.check(own, of: file, for: model) }
        var config = LoRAConfig(
            r: file.config.r, loraAlpha: file.config.loraAlpha, loraDropout: file.config.loraDropout,
            targetModules: Set(keyed.map(\.key.projection)), useRSLoRA: file.config.useRSLoRA)
        config.layersToTransform = Self.layers(keyed.map(\.key), of: model)
        config.tokens = file.tokenRows?.tokens ?? []
        for (key, module) in keyed {
            if module.rank != config.r { config.rankPattern[key] = module.rank }
            let alpha = try file.config.alpha(of: module.path)
            if alpha != config.loraAlpha { config.alphaPattern[key] = alpha }
        }
        self.init(
            config: config, modules: keyed.map(\.key), for: model,
            provenance: file.provenance, sha256: file.sha256)
        for (key, module) in keyed {
            guard let factors = self[key] else { continue }
            factors.a.copy(from: try module.a.floats())
            factors.b.copy(from: try module.b.floats())
        }
        if let own = file.tokenRows { tokenRows?.rows.copy(from: try own.rows.floats()) }
    }

    private static func check(_ own: AdapterTokenRows, of file: AdapterFile, for model: DecoderSpec) throws {
        guard own.path + ".weight" == model.embedding.weight else {
            throw MeraserError.badInput(
                "\(file.path): rows of '\(own.path)', which is not the input embedding of this model, "
                    + "\(model.embedding.weight)")
        }
        guard own.rows.columns == model.hiddenSize else {
            throw MeraserError.badInput(
                "\(file.path): tensor '\(own.rows.name)' has shape \(own.rows.shape), expected rows of "
                    + "\(model.hiddenSize) numbers for this model; the adapter belongs to another one")
        }
        if let token = own.tokens.first(where: { $0 >= model.vocabSize }) {
            throw MeraserError.badInput(
                "\(file.path): token \(token) is not in this model's vocabulary of \(model.vocabSize)")
        }
    }

    /// Writes this adapter as a PEFT folder's two files into a folder that exists, in f32, with its provenance.
    ///
    /// - Parameters:
    ///   - folder: where to.
    ///   - model: the configuration of the model that it belongs to.
    ///   - baseModelName: `base_model_name_or_path`; of a path only the last component is written.
    ///   - basePath: the same as it is, since somebody asked for it.
    ///   - overwrite: replace an adapter that is there.
    public func save(
        folder: String, model: DecoderSpec, baseModelName: String?, basePath: String? = nil, overwrite: Bool = false
    ) throws {
        try AdapterFile.write(
            folder: folder, config: peftConfig(for: model, baseModelName: basePath ?? baseModelName),
            factors: peftFactors(for: model), tokenRows: peftTokenRows(for: model), provenance: provenance,
            keepsBasePath: basePath != nil,
            overwrite: overwrite)
    }

    /// The same with the factor on the product of each module.
    public func scaledFactors(for model: DecoderSpec) -> [(factors: AdapterFile.Factors, scale: Float)] {
        zip(peftFactors(for: model), modules).map { ($0, config.scale(of: $1)) }
    }

    /// Copies of the factors with their modules' paths in that model, in the order of the forward pass.
    public func peftFactors(for model: DecoderSpec) -> [AdapterFile.Factors] {
        modules.compactMap { module in
            self[module].map {
                AdapterFile.Factors(
                    path: model[module].path, a: $0.a.toArray(), b: $0.b.toArray(), rank: $0.rank)
            }
        }
    }

    /// Copies of the rows of the embedding with its path in that model; nil: there are none.
    public func peftTokenRows(for model: DecoderSpec) -> AdapterFile.TokenRows? {
        tokenRows.map {
            AdapterFile.TokenRows(
                path: String(model.embedding.weight.dropLast(".weight".count)), values: $0.rows.toArray(),
                count: $0.tokens.count)
        }
    }

    /// `layers_to_transform` of those modules: their layers, ascending; empty where they are all of the model's.
    private static func layers(_ modules: [ModuleKey], of model: DecoderSpec) -> [Int] {
        let layers = Set(modules.map(\.layer))
        return layers.count == model.numHiddenLayers ? [] : layers.sorted()
    }

    /// PEFT's view of this adapter: plain module names where each projection is adapted in the same layers, whole paths
    /// otherwise, since PEFT would make empty adapters for what is missing.
    private func peftConfig(for model: DecoderSpec, baseModelName: String?) -> PEFTConfig {
        let projections = Set(modules.map(\.projection))
        let isUniform = modules.count == Set(modules.map(\.layer)).count * projections.count
        return PEFTConfig(
            r: config.r, loraAlpha: config.loraAlpha, loraDropout: config.loraDropout, useRSLoRA: config.useRSLoRA,
            targets: .names(
                isUniform
                    ? modules.prefix(projections.count).map { model[$0].name }.sorted()
                    : modules.map { model[$0].path }),
            layersToTransform: isUniform ? Self.layers(modules, of: model) : [],
            rankPattern: config.rankPattern.sorted { $0.key < $1.key }.map { (model[$0.key].path, $0.value) },
            alphaPattern: config.alphaPattern.sorted { $0.key < $1.key }.map { (model[$0.key].path, $0.value) },
            tokens: config.tokens, baseModelName: baseModelName)
    }
}
