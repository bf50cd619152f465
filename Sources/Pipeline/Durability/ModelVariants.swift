import Base
import Foundation
import Kernels
import Merge
import Model
import Quant

/// A model as others may store it: merged with its adapters and rounded, or merged with another model. Each variant is
/// written into a folder of its own that is gone with this value, and only while it is used.
///
/// Not thread-safe. Disk: one variant, of merges with another model two, of at most two bytes a weight.
final class ModelVariants {
    private let model: OpenedModel
    private let reference: String?
    private let folder: AtomicFolder
    private let isInterrupted: @Sendable () -> Bool

    /// Variants of that model, in a folder within `work`, which is made if need be.
    ///
    /// - Throws: a runtime error where no folder can be made.
    init(
        of model: OpenedModel, reference: String?, work: String, isInterrupted: @escaping @Sendable () -> Bool
    ) throws {
        (self.model, self.reference, self.isInterrupted) = (model, reference, isInterrupted)
        do {
            try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime("cannot make the folder \(work): \(systemErrorText())")
        }
        // Never committed, so that it goes with this object.
        folder = try AtomicFolder(path: work + "/durable", overwrite: true)
    }

    /// Writes a variant, opens it and gives it to `body`.
    ///
    /// - Throws: what writing, opening and `body` throw.
    func with<Result>(_ weights: DurabilityCell.Weights, _ body: (OpenedModel) throws -> Result) throws -> Result {
        let path = "\(folder.temporaryPath)/\(weights.rawValue).mqf"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try write(weights, to: path)
        return try body(try OpenedModel(path: path, kernels: model.transformer.kernels))
    }

    private func write(_ weights: DurabilityCell.Weights, to path: String) throws {
        switch weights {
        case .asIs, .source: preconditionFailure("\(weights) is nothing that is written")
        case .q8: try write(try fused(.f32), .q8_0, to: path)
        case .q4: try write(try fused(.f32), .q4_0, to: path)
        case .iq4: try write(try fused(.f32), .iq4_nl, to: path)
        case .nf4: try write(try NF4Weights(try fused(.f32)), .bf16, to: path)
        case .bf16: try write(try fused(.bf16), .bf16, to: path)
        case .slerp: try merge(.slerp, to: path)
        case .linear: try merge(.linear, to: path)
        }
    }

    private func fused(_ type: TensorType) throws -> FusedWeights {
        try FusedWeights(
            store: model.transformer.store,
            adapters: try model.adapterPaths.map { try AdapterFile(path: $0, for: model.transformer.spec) },
            type: type, kernels: model.transformer.kernels)
    }

    private func write(_ source: any TensorSource, _ type: TensorType, to path: String) throws {
        _ = try convert(source, destination: path, options: options(type), isInterrupted: isInterrupted)
    }

    private func options(_ type: TensorType) -> ConvertOptions {
        var options = ConvertOptions()
        options.type = type
        options.threads = model.transformer.kernels.threads
        options.overwrite = true
        return options
    }

    /// Merged with its adapters first: a merge reads models.
    private func merge(_ method: MergeMethod, to path: String) throws {
        guard let reference else { preconditionFailure("a merge without a reference") }
        let own = "\(folder.temporaryPath)/own.mqf"
        defer { try? FileManager.default.removeItem(atPath: own) }
        try write(try fused(.bf16), .bf16, to: own)
        let half: JSONValue = method == .linear ? ["weight": .real(0.5)] : [:]
        let models = JSONValue.array([own, reference].map { ["model": .text($0), "parameters": half] })
        var recipe: [(key: String, value: JSONValue)] = [
            ("merge_method", .text(method.rawValue)), ("models", models), ("dtype", .text("float32")),
            ("out_dtype", .text("bfloat16")),
        ]
        if method == .slerp { recipe += [("base_model", .text(own)), ("parameters", ["t": .real(0.5)])] }
        var merging = MergeOptions()
        merging.threads = model.transformer.kernels.threads
        merging.conversion = options(.bf16)
        merging.overwrite = true
        _ = try mergeModels(
            try MergeRecipe(.object(JSONObject(recipe)), file: "the merge with the reference"), destination: path,
            options: merging, isInterrupted: isInterrupted)
    }
}
