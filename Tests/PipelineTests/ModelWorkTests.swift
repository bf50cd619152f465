import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

private func open(_ path: String, _ adapters: [String] = []) throws -> OpenedModel {
    try OpenedModel(path: path, adapterPaths: adapters, kernels: try KernelContext(threads: 2))
}

/// A PEFT folder for tinychat with Gaussian factors in all seven projections.
private func writeAdapter(_ folder: URL, for model: OpenedModel, seed: UInt64, rank: Int) throws {
    let config = LoRAConfig(
        r: rank, loraAlpha: Double(2 * rank), loraDropout: 0, targetModules: Set(Projection.allCases))
    let adapter = LoRAAdapter(config: config, for: model.transformer.spec)
    var random = SeededRandom(seed: seed)
    for module in adapter.modules {
        let factors = try #require(adapter[module])
        for matrix in [factors.a, factors.b] {
            for row in 0..<matrix.rows {
                for column in 0..<matrix.columns { matrix[row, column] = random.gaussian() * 0.02 }
            }
        }
    }
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try adapter.save(folder: folder.path, model: model.transformer.spec, baseModelName: nil)
}

private func logits(_ model: OpenedModel, _ tokens: [Int32]) throws -> [Float] {
    let session = model.session()
    return try session.logits(try session.hiddenStates(PackedBatch([tokens]))).toArray()
}

@Test("a model with fused adapters, and one with concatenated adapters, computes what the stack computes")
func exportsKeepLogits() throws {
    try withTemporaryFolder { folder in
        let base = try open(tinychatFolder().path)
        let adapters = ["a", "b"].map { folder.appendingPathComponent($0) }
        try writeAdapter(adapters[0], for: base, seed: 1, rank: 3)
        try writeAdapter(adapters[1], for: base, seed: 2, rank: 5)
        let stack = try open(tinychatFolder().path, adapters.map(\.path))
        let tokens = base.tokenizer.encode("What is the capital of France?")
        let want = try logits(stack, tokens)
        let plain = try logits(base, tokens)
        #expect(maxAbsoluteDifference(plain, want).difference > 0.1, "the adapters do nothing")

        let fused = folder.appendingPathComponent("fused").path
        var options = HuggingFaceExportOptions()
        options.dtype = .f32
        _ = try exportHuggingFace(
            store: base.transformer.store, adapters: try adapters.map { try AdapterFile(path: $0.path) },
            destination: fused, options: options, kernels: base.transformer.kernels)
        // fp32 noise of the logits is 9e-6 (reference/README.md); fusing rounds each weight once more.
        expectClose(try logits(try open(fused), tokens), want, absolute: 5e-5, "fused")

        let joined = folder.appendingPathComponent("joined").path
        #expect(try stack.exportPEFT(destination: joined, overwrite: false) == 8)
        expectClose(try logits(try open(tinychatFolder().path, [joined]), tokens), want, absolute: 5e-5, "joined")
    }
}

@Test("embedding leaves a key that only its owner can read and an adapter that names its base")
func embedsMark() throws {
    try withTemporaryFolder { folder in
        let model = try open(tinychatFolder().path)
        var options = EmbeddingOptions()
        options.scheme = UTFScheme(UTFOptions(count: 2))
        options.guesses = 6
        options.training.maxSteps = 2
        options.training.checkSteps = 2
        let out = folder.appendingPathComponent("mark").path
        let embedding = try model.embed(options: options, output: out)
        #expect(embedding.training.steps == 2)
        #expect(embedding.fingerprint.key.pairs.count == 2)
        let attributes = try FileManager.default.attributesOfItem(atPath: out + "/key.json")
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
        let adapter = try AdapterFile(path: out)
        #expect(adapter.provenance.baseSHA256 == (try model.transformer.store.sha256()))
        // Done before: the same key and adapter, and the mark is measured all the same.
        let key = try Data(contentsOf: URL(fileURLWithPath: out + "/key.json"))
        let again = try model.embed(options: options, output: out, resume: true)
        #expect(again.fsr == embedding.fsr && again.training.steps == 2)
        #expect(try Data(contentsOf: URL(fileURLWithPath: out + "/key.json")) == key)
        // On another base the adapter is refused by name.
        let other = folder.appendingPathComponent("other.mqf").path
        _ = try convert(source: tinychatFolder().path, destination: other, options: ConvertOptions())
        let error = try #require(throws: MeraserError.self) { try open(other, [out]) }
        #expect(error.kind == .badInput && error.message.contains("mark"), "\(error.message)")
        #expect(try FingerprintKey(path: out + "/key.json").guessTest?.n == 6)
    }
}

@Test("a chat prompt is the template's text, and a model without one refuses it")
func chatPrompts() throws {
    let model = try open(tinychatFolder().path)
    let text = try model.render([ChatMessage(role: "user", content: "Hi")], addGenerationPrompt: true)
    #expect(text.hasSuffix("### Instruction:\nHi\n\n### Response:\n"), "\(text)")
    let options = GenerationOptions(maxNewTokens: 4, stopTokens: model.transformer.stopTokens)
    var streamed = ""
    let results = try model.generate(["Hi"], chat: true, options: options) { streamed += $0 }
    #expect(results[0].tokens >= 1 && streamed == results[0].output)
}
