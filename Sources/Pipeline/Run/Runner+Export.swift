import Base
import Kernels
import Merge
import Model
import Quant
import Tune

/// What a run hands out, beside the model that it works on: the source of a quantized one, and the exported folder.
extension Runner {
    /// What the model was quantized from, where it was and that is at hand.
    func source(of base: OpenedModel) throws -> SourceModel? {
        guard try StoredTypes(base.transformer.store).isQuantized else { return nil }
        let source = try SourceModel(of: base, recipe.source, compute: recipe.compute)
        source?.model.transformer.store.warnings.forEach { onEvent(.warning($0)) }
        if let source, source.identity == .other {
            onEvent(.warning("\(source.name) is not what the model was converted from: another SHA-256 is recorded"))
        }
        if source == nil, recipe.export?.base == .source {
            throw MeraserError.badInput(
                "\(recipe.path): export: 'base' is 'source', but what the model was quantized from is not at hand; name it "
                    + "with `source`")
        }
        return source
    }

    /// What leaves the house: the folder that the recipe asks for, else the adapters on the source. Nil: the model that
    /// was worked on, with its adapters.
    ///
    /// - Parameters:
    ///   - model: the model with all adapters.
    ///   - base: the same without those of the run.
    ///   - source: what it was quantized from, if that is at hand.
    func exported(_ model: OpenedModel, base: OpenedModel, source: SourceModel?) throws -> OpenedModel? {
        guard let export = recipe.export else {
            return try source?.with(adapterPaths: model.adapterPaths).model
        }
        let path = folder.file("export")
        let (store, kind) = origin(export, base: base, source: source)
        let adapters = try model.adapterPaths.map { try AdapterFile(path: $0, for: model.transformer.spec) }
        let inputs: JSONValue = [
            "model": .text(try store.sha256()), "adapters": .array(adapters.map { .text($0.sha256) }),
            "base": .text(kind.rawValue), "dtype": .text(export.dtype.rawValue),
        ]
        let interrupt = interrupt
        let words = commands.export(export, from: store.path, adapters: model.adapterPaths, output: path)
        let result = try stage(.export, inputs: inputs, commands: words) {
            var options = HuggingFaceExportOptions()
            options.dtype = export.dtype
            options.overwrite = true
            let card = ModelCard(
                .hf, baseModel: store.modelName, folder: store.path, adapters: adapters,
                weights: "weights of the \(kind.rawValue) with the adapters added in fp32, rounded once to "
                    + export.dtype.rawValue, command: ["meraser", "run", recipe.path])
            options.documents = [card.document]
            let written = try exportHuggingFace(
                store: store, adapters: adapters, destination: path, options: options, kernels: kernels,
                isInterrupted: { interrupt?.isSet == true })
            written.warnings.forEach { onEvent(.warning($0)) }
            return [
                "folder": .text(fileName(ofPath: path)), "tensors": .integer(written.tensorCount),
                "bytes": .integer(written.byteCount), "sha256": .text(try openWeightStore(path: path).sha256()),
            ]
        }
        let opened = try OpenedModel(path: path, kernels: kernels, compute: recipe.compute == .bf16 ? .bf16 : .f32)
        guard try opened.transformer.store.sha256() == result["sha256"]?.string else {
            throw MeraserError.badInput("\(path) was changed after it was exported; pass `overwrite` to begin anew")
        }
        return opened
    }

    /// The weights that the adapters are added to.
    private func origin(
        _ export: Recipe.ExportStage, base: OpenedModel, source: SourceModel?
    ) -> (store: any WeightStore, base: Recipe.ExportStage.Base) {
        guard let source, export.base != .model else { return (base.transformer.store, .model) }
        return (source.model.transformer.store, .source)
    }
}
