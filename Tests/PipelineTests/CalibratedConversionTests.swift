import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Pipeline

@Suite("Calibrated conversion")
struct CalibratedConversionTests {
    private static let tinychat = tinychatFolder().path
    private static let heldout = packageRoot().appendingPathComponent("Examples/data/heldout.jsonl").path

    /// Converts tinychat and returns the file's path.
    private func converted(
        _ folder: URL, _ type: TensorType, _ text: CalibrationText? = nil, tokens: Int = 512, threads: Int = 2,
        name: String = "m", change: (inout ConvertOptions) -> Void = { _ in }
    ) throws -> String {
        var options = ConvertOptions()
        options.type = type
        options.overwrite = true
        change(&options)
        let path = folder.appendingPathComponent(name + ".mqf").path
        if let text {
            _ = try convert(
                source: Self.tinychat, destination: path, options: options,
                calibration: CalibratedConversion(text, tokenCount: tokens),
                kernels: try KernelContext(threads: threads))
        } else {
            _ = try Quant.convert(source: Self.tinychat, destination: path, options: options)
        }
        return path
    }

    /// KL of a file from tinychat on texts of another kind than those of `heldout`.
    private func divergence(_ path: String) throws -> Double {
        let kernels = try KernelContext(threads: 2)
        let model = try OpenedModel(path: path, kernels: kernels, compute: .f32)
        let source = try OpenedModel(path: Self.tinychat, kernels: kernels, compute: .f32)
        let texts = try String(
            contentsOf: packageRoot().appendingPathComponent("Examples/data/clean_prompts.jsonl"), encoding: .utf8)
        let report = try perplexity(
            of: [texts], session: model.session(), tokenizer: model.tokenizer,
            options: PerplexityOptions(.strided, maxLength: 256, stride: 256), base: source.session())
        return try #require(report.kl).mean
    }

    @Test(
        "takes a fifth off the divergence at least, on a text of another kind than it was calibrated on",
        arguments: [TensorType.iq4_nl, .q4_k])
    func divergence(type: TensorType) throws {
        try withTemporaryFolder { folder in
            let plain = try divergence(try converted(folder, type))
            let calibrated = try divergence(try converted(folder, type, .file(Self.heldout), tokens: 2048))
            #expect(calibrated < 0.8 * plain, "\(calibrated) of \(plain)")
        }
    }

    @Test("gives the same file on 1, 2 and 3 threads, which says how it was made")
    func threads() throws {
        try withTemporaryFolder { folder in
            var files: [Data] = []
            for threads in 1...3 {
                let path = try converted(folder, .q4_0, .file(Self.heldout), threads: threads)
                files.append(try Data(contentsOf: URL(fileURLWithPath: path)))
                let file = try MQFFile(path: path)
                try file.verify()
                #expect(file.metadata.string("mqf.calibration.text") == "heldout.jsonl")
                #expect(file.metadata.string("mqf.calibration.sha256") == (try sha256Hex(ofFile: Self.heldout)))
                #expect(file.metadata.int("mqf.calibration.tokens") == 512)
                #expect(file.sourceSHA256 == (try openTensorSource(path: Self.tinychat).sha256()))
            }
            #expect(Set(files).count == 1)
        }
    }

    @Test("of the model's own texts needs no file, and is the same for the same seed")
    func own() throws {
        try withTemporaryFolder { folder in
            let bytes = try [7, 7, 8].map { seed in
                try Data(
                    contentsOf: URL(
                        fileURLWithPath: try converted(folder, .iq4_nl, .own(seed: seed), tokens: 256)))
            }
            #expect(bytes[0] == bytes[1] && bytes[0] != bytes[2])
            let file = try MQFFile(path: folder.appendingPathComponent("m.mqf").path)
            #expect(file.metadata.string("mqf.calibration.text") == "self")
            #expect(file.metadata.int("mqf.calibration.seed") == 8 && file.metadata["mqf.calibration.sha256"] == nil)
        }
    }

    @Test("an untied head is rounded so too, where its type has blocks")
    func head() throws {
        try withTemporaryFolder { folder in
            let plain = try divergence(try converted(folder, .bf16) { $0.headType = .q4_0 })
            let calibrated = try divergence(
                try converted(folder, .bf16, .file(Self.heldout), tokens: 2048) { $0.headType = .q4_0 })
            #expect(calibrated < 0.9 * plain, "\(calibrated) of \(plain)")
        }
    }

    @Test(
        "every wiring, fused modules too: logits on the text move less than by plain rounding",
        arguments: ["gemma", "gemma2", "gemma3", "gptj", "granite", "phi3", "smollm3"])
    func architectures(name: String) throws {
        let fixture = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/small/\(name)")
        let ids = try GoldenFile(fixture.appendingPathComponent("golden.safetensors")).ints("ids")
        let model = try Transformer(
            store: try openWeightStore(path: fixture.path), kernels: try KernelContext(threads: 2))
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .q4_0
            options.overwrite = true
            func distance() throws -> Float {
                let quantized = try Transformer(store: try openWeightStore(path: path), kernels: model.kernels)
                let (a, b) = (try logits(model, ids), try logits(quantized, ids))
                return zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            }
            let plan = try convert(model.store, destination: path, options: options)
            let plain = try distance()
            let source = CalibratedSource(
                model, path: fixture.path,
                types: plan.tensors.reduce(into: [:]) { $0[$1.name] = $1.type }, sequences: [ids, ids.reversed()],
                provenance: Provenance()
            ) {}
            _ = try convert(source, destination: path, options: options)
            try MQFFile(path: path).verify()
            let calibrated = try distance()
            #expect(calibrated < 0.9 * plain, "\(calibrated) of \(plain)")
        }
    }

    private func logits(_ model: Transformer, _ ids: [Int32]) throws -> [Float] {
        let session = InferenceSession(model: model)
        return try session.logits(try session.hiddenStates(PackedBatch([ids]))).toArray()
    }

    @Test("bits: no mix that is smaller by one step up does better")
    func mixes() throws {
        var random = SeededRandom(seed: 3)
        let tensors = (0..<5).map { tensor in
            let loss = Double(abs(random.gaussian())) + 0.1
            return [(TensorType.iq4_nl, 9, 1.0), (.q5_k, 11, 0.3), (.q6_k, 13, 0.07), (.q8_0, 17, 0.005)].map {
                MixOption(type: $0.0, byteCount: $0.1 * (tensor + 1), loss: loss * $0.2)
            }
        }
        let smallest = tensors.reduce(0) { $0 + $1[0].byteCount }
        #expect(choices(tensors, budget: smallest - 1) == nil)
        for budget in stride(from: smallest, through: smallest * 2, by: 7) {
            let chosen = try #require(choices(tensors, budget: budget))
            let (size, loss) = chosen.reduce((0, 0.0)) { ($0.0 + $1.byteCount, $0.1 + $1.loss) }
            #expect(size <= budget && chosen.count == 5)
            // Every mix there is, as numbers to the base 4; the widest step has 20 bytes.
            let best = (0..<1024).reduce(Double.infinity) { best, number in
                let mix = (0..<5).map { tensors[$0][number >> (2 * $0) & 3] }
                let total = mix.reduce((0, 0.0)) { ($0.0 + $1.byteCount, $0.1 + $1.loss) }
                return total.0 <= budget - 20 ? min(best, total.1) : best
            }
            #expect(loss <= best + 1e-12, "\(loss) of \(best) at \(budget)")
        }
    }

    @Test("bits: the file keeps to them and diverges less than one type with as many; others are refused by the range")
    func bits() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("m.mqf").path
            func convertTo(_ bits: Double) throws -> CalibratedReport {
                var options = ConvertOptions()
                options.overwrite = true
                return try convert(
                    source: Self.tinychat, destination: path, options: options,
                    calibration: CalibratedConversion(.file(Self.heldout), tokenCount: 2048, bits: bits),
                    kernels: try KernelContext(threads: 2))
            }
            let uniform = try converted(folder, .q4_1, .file(Self.heldout), tokens: 2048, name: "u") {
                $0.embedType = .q4_1
            }
            let report = try convertTo(5)
            let mix = try #require(report.mix)
            #expect(mix.bits <= 5 && mix.bits > 4.9)
            #expect(Set(mix.types.values).count > 1)
            #expect(try divergence(path) < divergence(uniform))
            for bits in [4.4, 9] {
                #expect(errorText(.usage) { _ = try convertTo(bits) }.contains("`bits` \(bits)"))
            }
        }
    }

    @Test("what has no use for it, or is too short for it, is refused by name and leaves nothing")
    func refusals() throws {
        try withTemporaryFolder { folder in
            let short = try write(Array("Too short.".utf8), to: folder, "short.txt")
            let empty = try write([], to: folder, "empty.txt")
            func refusal(_ kind: MeraserError.Kind, _ body: () throws -> Void) throws -> String {
                let text = errorText(kind) { try body() }
                #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("m.mqf").path))
                return text.replacingOccurrences(of: folder.path, with: "D")
            }
            for type in [TensorType.f32, .bf16, .f16] {
                #expect(
                    try refusal(.usage) { _ = try converted(folder, type, .file(Self.heldout)) }
                        .hasPrefix("`calibrate` has no use for `type` \(type.name): nothing is rounded to blocks"))
            }
            #expect(
                try refusal(.badInput) { _ = try converted(folder, .q4_0, .file(short)) }
                    .contains("tokens to calibrate with, expected at least 128; give more text"))
            #expect(
                try refusal(.badInput) { _ = try converted(folder, .q4_0, .file(empty)) }.contains("empty.txt"))
            #expect(
                errorText(.usage) { _ = try CalibratedConversion(.own(seed: 1), tokenCount: 127) }
                    .hasPrefix("`calibration_tokens` 127: expected 128 to"))
        }
    }
}
