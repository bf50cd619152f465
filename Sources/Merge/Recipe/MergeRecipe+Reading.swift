import Base
import Foundation
import Quant

extension MergeRecipe {
    /// The most models of one slice.
    static let maximumInputs = 64

    /// Reads a recipe from its YAML as a JSON value; `file` is what errors show. Errors (`badInput`) name file, key and
    /// what was expected.
    public init(_ value: JSONValue, file: String) throws {
        var root = try Settings(value, place: file)
        guard let method = try root.choice("merge_method", MergeMethod.self) else {
            throw MeraserError.badInput("\(file): 'merge_method' is missing")
        }
        let reader = MergeRecipeReader(method: method, file: file)
        let base = try reader.model(&root, "base_model")
        parameters = try reader.parameters(&root, of: .all)
        type = try reader.type(&root, "dtype")
        outType = try reader.type(&root, "out_dtype")
        tokenizer = try MergeTokenizer(&root, file: file)
        if var module = try reader.module(&root) {
            moduleParameters = try reader.parameters(&module, of: .all)
            slices = try reader.slices(&module, base: base)
            guard !root.rest().contains(where: { ["models", "slices"].contains($0.key) }) else {
                throw MeraserError.badInput("\(file): expected exactly one of 'models', 'slices' and 'modules'")
            }
            try module.requireNothingElse()
        } else {
            moduleParameters = [:]
            slices = try reader.slices(&root, base: base)
        }
        try root.requireNothingElse()
        self.method = method
        self.base = base
    }
}

/// Reads the parts of a recipe.
private struct MergeRecipeReader {
    /// Whose parameters are read.
    enum Owner: Equatable {
        /// All models of a slice or of the recipe.
        case all
        /// One model.
        case model(String, base: String?)
    }

    let method: MergeMethod
    let file: String

    /// The one module of a text model, which mergekit calls `default`; nil: the recipe has no `modules`.
    func module(_ root: inout Settings) throws -> Settings? {
        guard var modules = try root.section("modules") else { return nil }
        let module = try modules.section("default")
        if let other = modules.rest().first?.key {
            throw MeraserError.badInput(
                "\(modules.place): unknown module \(quoted(other)): the models that are merged here have one, 'default'"
            )
        }
        guard let module else { throw MeraserError.badInput("\(modules.place): 'default' is missing") }
        return module
    }

    /// `models` or `slices` of a recipe or of its module.
    func slices(_ settings: inout Settings, base: String?) throws -> [MergeSlice] {
        switch (settings.value("models"), settings.value("slices")) {
        case (let models?, nil):
            return [try wholeModels(models, base: base)]
        case (nil, let slices?):
            guard let list = slices.array, !list.isEmpty else {
                throw MeraserError.badInput("\(settings.place): 'slices' is \(slices.kind), expected a list of slices")
            }
            return try list.enumerated().map { try slice($1, number: $0 + 1, base: base) }
        default:
            try settings.requireNothingElse()
            throw MeraserError.badInput("\(settings.place): expected exactly one of 'models' and 'slices'")
        }
    }

    func model(_ settings: inout Settings, _ key: String) throws -> String? {
        guard let path = try settings.text(key) else { return nil }
        guard !path.isEmpty else { throw MeraserError.badInput("\(settings.place): \(quoted(key)) is empty") }
        _ = try ModelReference(path, place: "\(settings.place): '\(key)'")
        return path
    }

    func type(_ settings: inout Settings, _ key: String) throws -> TensorType? {
        guard let name = try settings.text(key) else { return nil }
        let types: [String: TensorType] = ["float32": .f32, "float16": .f16, "bfloat16": .bf16]
        let plain = name.hasPrefix("torch.") ? String(name.dropFirst(6)) : name
        guard let type = types[plain] else {
            throw MeraserError.badInput(
                "\(settings.place): \(quoted(key)) is \(quoted(name)), expected float32, float16 or bfloat16")
        }
        return type
    }

    func parameters(_ settings: inout Settings, of owner: Owner) throws -> MergeParameters {
        guard let section = try settings.section("parameters") else { return [:] }
        let shared = method.sharedParameters
        var known = method.modelParameters
        if owner == .all { known += shared }
        var result: MergeParameters = [:]
        for (key, value) in section.rest() {
            func bad(_ what: String) -> MeraserError { .badInput("\(section.place): \(what)") }
            if case .model(let path, let base) = owner, path == base, method.usesDifferences {
                throw bad("\(quoted(key)) of the base is not used: \(method.rawValue) takes its weights as they are")
            }
            guard known.contains(key) else {
                if shared.contains(key) {
                    throw bad(
                        "'\(key)' of one model is not used; write it into 'parameters' of a slice or of the recipe")
                }
                let suggestion = closest(to: key, in: known).map { "did you mean '\($0)'?" }
                let names = known.isEmpty ? "there are none here" : "known are \(known.joined(separator: ", "))"
                throw bad("unknown parameter \(quoted(key)) of \(method.rawValue); \(suggestion ?? names)")
            }
            result[key] = try MergeSetting(
                value, key: key, place: section.place, isFlag: MergeMethod.flags.contains(key))
        }
        return result
    }

    /// One slice over all layers; the base joins the models if it is not among them, as in mergekit.
    func wholeModels(_ value: JSONValue, base: String?) throws -> MergeSlice {
        guard let list = value.array, !list.isEmpty else {
            throw MeraserError.badInput("\(file): 'models' is \(value.kind), expected a list of models")
        }
        var inputs: [MergeInput] = []
        for (index, value) in list.enumerated() {
            var settings = try Settings(value, place: "\(file): model \(index + 1)")
            let path = try require(try model(&settings, "model"), "model", settings)
            let parameters = try parameters(&settings, of: .model(path, base: base))
            try settings.requireNothingElse()
            inputs.append(MergeInput(model: path, layers: nil, parameters: parameters))
        }
        if let base, !inputs.contains(where: { $0.model == base }) {
            inputs.append(MergeInput(model: base, layers: nil, parameters: [:]))
        }
        return try checked(MergeSlice(inputs: inputs, base: base, parameters: [:]), place: file)
    }

    func slice(_ value: JSONValue, number: Int, base: String?) throws -> MergeSlice {
        var settings = try Settings(value, place: "\(file): slice \(number)")
        let own = try model(&settings, "base_model")
        let parameters = try parameters(&settings, of: .all)
        let sources = settings.value("sources")
        try settings.requireNothingElse()
        guard let list = sources?.array, !list.isEmpty else {
            throw MeraserError.badInput(
                "\(settings.place): 'sources' is missing or no list of models with layer ranges")
        }
        var inputs: [MergeInput] = []
        for (index, value) in list.enumerated() {
            var source = try Settings(value, place: "\(settings.place): source \(index + 1)")
            let path = try require(try model(&source, "model"), "model", source)
            let bounds = try require(source.value("layer_range"), "layer_range", source).array?.map { $0.int ?? -1 }
            guard let bounds, bounds.count == 2, bounds[0] >= 0, bounds[1] > bounds[0] else {
                throw MeraserError.badInput(
                    "\(source.place): 'layer_range' is no pair of a first layer and one behind the last")
            }
            let parameters = try self.parameters(&source, of: .model(path, base: own ?? base))
            try source.requireNothingElse()
            inputs.append(MergeInput(model: path, layers: bounds[0]..<bounds[1], parameters: parameters))
        }
        guard Set(inputs.map { $0.layers?.count }).count == 1 else {
            throw MeraserError.badInput("\(settings.place): the layer ranges have different lengths")
        }
        return try checked(
            MergeSlice(inputs: inputs, base: own ?? base, parameters: parameters), place: settings.place)
    }

    private func require<T>(_ value: T?, _ key: String, _ settings: Settings) throws -> T {
        guard let value else { throw MeraserError.badInput("\(settings.place): \(quoted(key)) is missing") }
        return value
    }

    /// What the method demands of the number of models and of the base.
    private func checked(_ slice: MergeSlice, place: String) throws -> MergeSlice {
        func bad(_ what: String) -> MeraserError { .badInput("\(place): \(method.rawValue) \(what)") }
        let names = slice.inputs.map(\.model)
        guard names.count <= MergeRecipe.maximumInputs else {
            throw bad("has \(names.count) models, expected at most \(MergeRecipe.maximumInputs)")
        }
        if let twice = Dictionary(grouping: names, by: { $0 }).first(where: { $1.count > 1 })?.key {
            throw MeraserError.badInput("\(place): the model \(twice) is named twice")
        }
        if method.needsBase {
            guard let base = slice.base else { throw bad("needs 'base_model'") }
            guard names.contains(base) else { throw bad("needs the base \(base) among the models of each slice") }
        }
        if method == .slerp, names.count != 2 { throw bad("takes the base and one other model, not \(names.count)") }
        let others = names.filter { $0 != slice.base }.count
        if method == .nuslerp, others != 2 { throw bad("takes two models beside the base, not \(others)") }
        if method == .modelStock, others < 2 { throw bad("takes two models or more beside the base, not \(others)") }
        if method == .nuslerp, let base = slice.base, !names.contains(base) {
            throw bad("needs the base \(base) among the models of each slice")
        }
        if method == .passthrough, names.count != 1 { throw bad("takes one model in a slice, not \(names.count)") }
        return slice
    }
}
