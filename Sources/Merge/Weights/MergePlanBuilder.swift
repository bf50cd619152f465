import Base
import Quant

/// Builds the steps of a plan slice by slice.
struct MergePlanBuilder {
    let recipe: MergeRecipe
    let models: [String: MergeModel]
    /// The model whose config.json the result has.
    let donor: MergeModel
    /// The result's tokens, where rows have to move.
    let vocabulary: MergedVocabulary?
    let seed: UInt64
    /// Where each layer of the result comes from.
    private(set) var layers: [ConfigChanges.Layer] = []
    private var steps: [MergeStep] = []

    init(
        recipe: MergeRecipe, models: [String: MergeModel], donor: MergeModel, vocabulary: MergedVocabulary?,
        seed: UInt64
    ) {
        self.recipe = recipe
        self.vocabulary = vocabulary
        self.models = models
        self.donor = donor
        self.seed = seed
    }

    mutating func build() throws -> [MergeStep] {
        guard let first = recipe.slices.first, let last = recipe.slices.last else { return [] }
        for name in try names(of: first, inLayers: false) where name.isBeforeLayers {
            try append(name, out: name.text, slice: first, layer: 0, t: 0)
        }
        for slice in recipe.slices { try append(slice) }
        for name in try namesBehindLayers(of: last) { try append(name, out: name.text, slice: last, layer: 0, t: 0) }
        guard !steps.isEmpty else { throw MeraserError.badInput("\(recipe.donor) has no tensors") }
        try checkDonor()
        return steps
    }

    /// The result has an output head of its own as soon as one model has: of the others it is the embedding.
    private func namesBehindLayers(of slice: MergeSlice) throws -> [TensorName] {
        var result = try names(of: slice, inLayers: false).filter { !$0.isBeforeLayers }
        let tied = slice.inputs.lazy.compactMap { models[$0.model]?.tiedHead }.first
        let isUntied = models.values.contains { model in model.names.contains { $0.text == tied?.name } }
        if let tied, isUntied, !result.contains(where: { $0.text == tied.name }) {
            result.append(TensorName(tied.name))
        }
        return result
    }

    /// The donor's config.json describes the result: where the donor is not in every slice, its tensors must have the shapes
    /// of the result's. The vocabulary and the head may differ: config.json is changed for them.
    private func checkDonor() throws {
        guard donor.config != nil, !recipe.slices.allSatisfy({ $0.inputs.contains { $0.model == donor.path } }) else {
            return
        }
        var shapes: [String: Set<[Int]>] = [:]
        for name in donor.names {
            if let shape = try donor.shape(name.text) { shapes[name.template, default: []].insert(shape) }
        }
        var missing = Set(shapes.keys)
        for step in steps where step.name != donor.tiedHead?.name {
            let name = TensorName(step.name)
            missing.remove(name.template)
            let wanted = shapes[name.template] ?? []
            let isVocabulary = name.layer == nil && step.shape.count == 2
            guard
                wanted.contains(where: { $0 == step.shape || isVocabulary && $0.dropFirst() == step.shape.dropFirst() })
            else {
                let found = wanted.map(\.description).sorted().joined(separator: " or ")
                throw MeraserError.badInput(
                    "tensor '\(step.name)' of the result has shape \(step.shape), in \(donor.path), whose config.json the "
                        + "result has, \(found.isEmpty ? "there is none" : "it is \(found)")")
            }
        }
        if let template = missing.sorted().first {
            throw MeraserError.badInput(
                "tensor '\(template)' is not in the result, but in \(donor.path), whose config.json the result has")
        }
    }

    private mutating func append(_ slice: MergeSlice) throws {
        let ranges = try slice.inputs.map { input in
            guard let model = models[input.model] else { preconditionFailure("\(input.model) is not open") }
            let layers = input.layers ?? 0..<model.layerCount
            guard layers.upperBound <= model.layerCount else {
                throw MeraserError.badInput(
                    "\(input.model) has \(model.layerCount) layers, the recipe asks for \(layers.lowerBound) to "
                        + "\(layers.upperBound)")
            }
            return layers
        }
        guard let count = ranges.first?.count, ranges.allSatisfy({ $0.count == count }) else {
            let counts = zip(slice.inputs, ranges).map { "\($0.model) \($1.count)" }.joined(separator: ", ")
            throw MeraserError.badInput("the models have different numbers of layers: \(counts); use 'slices'")
        }
        let templates = try names(of: slice, inLayers: true)
        for layer in 0..<count {
            // mergekit's place of a layer: 0 to 1 over the slice, and 1 in a slice of one layer.
            let t = count > 1 ? Double(layer) / Double(count - 1) : 1
            for name in templates {
                try append(name, out: name.inLayer(layers.count), slice: slice, layer: layer, t: t)
            }
            // What config.json says about a layer is what the donor says where it takes part.
            let source = slice.inputs.firstIndex { $0.model == donor.path } ?? 0
            layers.append(
                ConfigChanges.Layer(
                    config: models[slice.inputs[source].model]?.config, path: slice.inputs[source].model,
                    number: ranges[source].lowerBound + layer))
        }
    }

    /// Every tensor that one of the slice's models has, outside the layers or in them (as that of layer 0).
    private func names(of slice: MergeSlice, inLayers: Bool) throws -> [TensorName] {
        var seen: Set<[UInt8]> = []
        var result: [TensorName] = []
        let order = slice.inputs.sorted { ($0.model == recipe.donor ? 0 : 1) < ($1.model == recipe.donor ? 0 : 1) }
        for input in order {
            for name in models[input.model]?.names ?? [] where (name.layer != nil) == inLayers {
                if seen.insert(Array(name.template.utf8)).inserted {
                    result.append(inLayers ? TensorName(name.inLayer(0)) : name)
                }
            }
        }
        return result
    }

    /// One tensor of the result: `layer` counts from the beginning of the slice.
    private mutating func append(_ name: TensorName, out: String, slice: MergeSlice, layer: Int, t: Double) throws {
        var readers: [ElementReader] = []
        for input in slice.inputs {
            let own = name.inLayer((input.layers?.lowerBound ?? 0) + layer)
            guard let reader = try models[input.model]?.tensor(own) else {
                throw MeraserError.badInput(
                    "\(input.model): tensor '\(own)' is missing, which another model of the merge has")
            }
            readers.append(reader)
        }
        let type = recipe.type ?? Self.promoted(readers.map(\.type))
        if let vocabulary, MergedVocabulary.hasRows(out, of: Array(models.values)) {
            readers = try vocabulary.aligned(
                readers, of: slice.inputs.map(\.model), base: slice.base, type: type)
        }
        for (input, reader) in zip(slice.inputs, readers) where reader.entry.shape != readers[0].entry.shape {
            let own = name.inLayer((input.layers?.lowerBound ?? 0) + layer)
            throw MeraserError.badInput(
                "tensor '\(own)' has shape \(reader.entry.shape) in \(input.model), but \(readers[0].entry.shape) in "
                    + "\(slice.inputs[0].model); expected equal shapes")
        }
        let names = slice.inputs.map { name.inLayer(($0.layers?.lowerBound ?? 0) + layer) }
        let resolver = ParameterResolver(recipe: recipe, slice: slice, out: out, t: t, names: names)
        let (operation, order) = try resolver.operation(type: type, seed: seed)
        steps.append(
            MergeStep(
                name: out, shape: readers[0].entry.shape, inputs: order.map { readers[$0] },
                operation: operation, type: type, outType: recipe.outType ?? type, filteredNames: [out] + names))
    }

    /// torch's promotion.
    private static func promoted(_ types: [TensorType]) -> TensorType {
        types.allSatisfy { $0 == types[0] } ? types[0] : .f32
    }
}
