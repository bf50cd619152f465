import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

/// Hashes of a fixed set of results on the bundled model, as they are in this numerics version.
///
/// **When this fails, bits have changed.** If that was meant, raise `numericsVersion` by one and write the new hashes down,
/// in the commit that changes the bits: records of the old version are then neither resumed nor reused. If it was not meant,
/// the change is wrong. A new instruction set or precision adds lines and changes no version.
@Suite("Numerics: golden hashes")
struct NumericsTests {
    /// The version that the hashes are of.
    private static let version = 2

    /// Logits of 12 tokens, by instruction set and precision.
    private static let logits: [String: String] = [
        "portable f32": "5de4fef921b491f1",
        "portable int8": "ef95b0269caaf903",
        "avx2 f32": "de33a6320cf10b03",
        "avx2 int8": "7331057e5ed1ebe1",
        "avx512vnni f32": "de33a6320cf10b03",
        "avx512vnni int8": "7331057e5ed1ebe1",
        "avx512bf16 bf16": "bf083f971704a232",
        "avx512bf16 f32": "de33a6320cf10b03",
        "avx512bf16 int8": "85e625c8623f71d7",
        "avx512intel bf16": "56e0dd8bcb6ef2d8",
        "avx512intel f32": "de33a6320cf10b03",
        "avx512intel int8": "7331057e5ed1ebe1",
    ]

    /// The adapter after two steps of LoRA, by instruction set and precision.
    private static let adapters: [String: String] = [
        "portable f32": "532c034047cd171c",
        "portable int8": "27a370a6bc7b2eda",
        "avx2 f32": "a8da847d2c2ef876",
        "avx2 int8": "a0ae7a1d80bf26c4",
        "avx512vnni f32": "a8da847d2c2ef876",
        "avx512vnni int8": "a0ae7a1d80bf26c4",
        "avx512bf16 bf16": "e703e00c24ff7d74",
        "avx512bf16 f32": "a8da847d2c2ef876",
        "avx512bf16 int8": "21217715c807d5b8",
        "avx512intel bf16": "2ed2c074846cde52",
        "avx512intel f32": "a8da847d2c2ef876",
        "avx512intel int8": "1e7970195f3ec575",
    ]

    /// Every tensor of the model, converted; the same on every instruction set.
    private static let weights: [String: String] = [
        "bf16": "43983af159bf0731",
        "f16": "7558d30661c3ad19",
        "iq4_nl": "ac6b843a0c1011aa",
        "nf4": "7671d83be53e0650",
        "q4_0": "b9709c3bd9d060ce",
        "q4_1": "9d2d5b9b6189083b",
        "q4_k": "5528e02213586396",
        "q5_k": "96ca08866635def0",
        "q6_k": "b5059ba4a2d36638",
        "q8_0": "7d2462e4fefc2c5e",
    ]

    /// The code may be compiled with fused multiply-add on other machines than these.
    private static var isKnownMachine: Bool {
        #if arch(x86_64)
            true
        #else
            false
        #endif
    }

    @Test("the hashes are of the version in the code")
    func version() { #expect(Self.version == numericsVersion) }

    /// What this CPU has of the table's instruction sets, with each of its precisions.
    private func variants() throws -> [(name: String, kernels: KernelContext, compute: Compute)] {
        try ["portable", "avx2", "avx512vnni", "avx512bf16", "avx512intel"].filter(
            KernelContext.availableISANames.contains
        )
        .flatMap { isa in
            let kernels = try KernelContext(threads: 2, isa: isa)
            return Compute.allCases.filter(kernels.supports).map { ("\(isa) \($0.rawValue)", kernels, $0) }
        }
    }

    private func converted(_ folder: URL, _ type: TensorType) throws -> String {
        let path = folder.appendingPathComponent("\(type.name).mqf").path
        var options = ConvertOptions()
        options.type = type
        options.threads = 2
        _ = try convert(source: tinychatFolder().path, destination: path, options: options)
        return path
    }

    @Test("logits keep their bits", .enabled(if: isKnownMachine))
    func forward() throws {
        try withTemporaryFolder { folder in
            let path = try converted(folder, .iq4_nl)
            for (name, kernels, compute) in try variants() {
                let model = try OpenedModel(path: path, kernels: kernels, compute: compute)
                let session = model.session()
                let tokens = (0..<12).map { Int32($0 * 331 % 4096) }
                let values = try session.logits(try session.hiddenStates(PackedBatch([tokens]))).toArray()
                let hash = values.withUnsafeBytes { sha256Hex($0) }
                expect(hash, Self.logits, name, "logits")
            }
        }
    }

    @Test("two steps of LoRA keep their bits", .enabled(if: isKnownMachine))
    func training() throws {
        try withTemporaryFolder { folder in
            let path = try converted(folder, .iq4_nl)
            var random = SeededRandom(seed: 3)
            let samples = try (0..<2).map { _ in
                let tokens = (0..<9).map { _ in Int32(random.next() % 4096) }
                return try #require(TrainingSample(tokens: tokens, isLabel: tokens.map { _ in true }))
            }
            let data = EncodedDataset(samples: samples, sha256: "")
            for (name, kernels, compute) in try variants() {
                var options = TrainingOptions()
                options.lora = LoRAConfig(
                    r: 2, loraAlpha: 4, loraDropout: 0.1, targetModules: Set(Projection.allCases))
                options.batchSize = 2
                options.maxSteps = 2
                options.compute = compute
                let model = try Transformer(store: try openWeightStore(path: path), kernels: kernels)
                let trainer = try Trainer(model: model, frozen: [], data: data, options: options)
                _ = try trainer.run(output: folder.appendingPathComponent(name).path)
                let hash = trainer.adapter.parameters.toArray().withUnsafeBytes { sha256Hex($0) }
                expect(hash, Self.adapters, name, "adapter")
            }
        }
    }

    @Test("quantized weights keep their bits")
    func quantization() throws {
        try withTemporaryFolder { folder in
            for type in [TensorType.q8_0, .q4_0, .q4_1, .q4_k, .q5_k, .q6_k, .iq4_nl, .nf4, .bf16, .f16] {
                let file = try openWeightStore(path: try converted(folder, type))
                var digests = ""
                for name in file.tensorNames {
                    let tensor = try file.tensor(name)
                    digests += withExtendedLifetime(tensor) { sha256Hex(tensor.bytes) }
                }
                expect(sha256Hex(digests.utf8), Self.weights, type.name, "weights")
            }
        }
    }

    private func expect(_ hash: String, _ table: [String: String], _ name: String, _ what: String) {
        let short = String(hash.prefix(16))
        #expect(table[name] == short, "\"\(name)\": \"\(short)\", // \(what)")
    }
}
