import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

/// Goldens on MEraser's own pairs; data and values are in the developers' shared folder.
@Suite(.enabled(if: sharedFolder() != nil, "needs ../shared (reference/tinychat, data/meraser)"))
struct GradientMEraserTests {
    let reference: URL
    let data: URL
    let model: Transformer
    let tokenizer: Tokenizer

    init() throws {
        let shared = try #require(sharedFolder())
        reference = shared.appendingPathComponent("reference/tinychat")
        data = shared.appendingPathComponent("data/meraser")
        model = try GradientTests.transformer(tinychatFolder())
        tokenizer = try Tokenizer(store: model.store)
    }

    /// Question and answer tokenised apart without special tokens, each cut at 256: (ids, first answer token).
    func pairs(_ file: String, _ answerKey: String, _ rows: Range<Int>, separator: String = "") throws
        -> [(ids: [Int32], answerStart: Int)]
    {
        let url = data.appendingPathComponent(file)
        let all = try #require(try JSONValue.parse(Array(Data(contentsOf: url)), file: url.path).array)
        return try all[rows].map { row in
            let question = try row.string("question", in: url.path) + separator
            let answer = try row.string(answerKey, in: url.path)
            let head = tokenizer.encode(question, addSpecialTokens: false).prefix(256)
            return (Array(head + tokenizer.encode(answer, addSpecialTokens: false).prefix(256)), head.count)
        }
    }

    func golden(_ name: String) throws -> GoldenFile {
        try GoldenFile(reference.appendingPathComponent("\(name).safetensors"))
    }

    @Test("LoRA gradients of full and completion loss agree with PEFT", arguments: ["full", "completion"])
    func lossKinds(kind: String) throws {
        let rows = try pairs("mismatched_dataset.json", "mismatched_answer", 0..<4)
        let trained = try GradientTests.adapter(
            try golden("lora_init"), prefix: "", config: LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0),
            for: model.spec)
        let batch = GradientTests.meanBatch(
            rows.map(\.ids), firstLabel: kind == "completion" ? rows.map(\.answerStart) : nil)
        let graph = TrainingGraph(
            model: model, frozen: [], trained: trained, maximumTokens: batch.batch.tokenCount)
        let gradients = LoRAAdapter(layoutOf: trained)
        let loss = try graph.accumulate(batch, into: gradients)
        let file = reference.appendingPathComponent("lora.json")
        let json = try JSONValue.parse(Array(Data(contentsOf: file)), file: file.path)
        let expected = try json.double(kind, "loss", in: file.path)
        #expect(batch.labelCount == (try json.int(kind, "label_tokens", in: file.path)))
        #expect(abs(loss - expected) <= 5e-6 * expected)
        try GradientTests.expectGradients(gradients, try golden("lora_grads_\(kind)"), prefix: "", kind)
    }

    @Test("gradients of seven modules with rsLoRA on a frozen adapter, accumulated over two batches")
    func stacked() throws {
        let frozen = try GradientTests.adapter(
            try golden("lora_after_20_steps"), prefix: "", config: LoRAConfig(r: 8, loraAlpha: 16), for: model.spec)
        let config = LoRAConfig(
            r: 4, loraAlpha: 6, loraDropout: 0, targetModules: Set(Projection.allCases), useRSLoRA: true)
        let trained = try GradientTests.adapter(
            try golden("stacked_init"), prefix: "", config: config, for: model.spec)
        let rows = try pairs("recover_dataset.json", "answer", 0..<6, separator: "\n").map(\.ids)
        let labels = rows.reduce(0) { $0 + $1.count - 1 }
        let graph = TrainingGraph(model: model, frozen: [frozen], trained: trained, maximumTokens: 2048)
        let gradients = LoRAAdapter(layoutOf: trained)
        var loss = 0.0
        for part in [rows[..<3], rows[3...]] {
            var batch = GradientTests.meanBatch(Array(part))
            batch.weights = batch.labels.map { $0 >= 0 ? 1 / Float(labels) : 0 }
            loss += try graph.accumulate(batch, into: gradients)
        }
        let file = reference.appendingPathComponent("stacked.json")
        let json = try JSONValue.parse(Array(Data(contentsOf: file)), file: file.path)
        let step = try json.array("steps", in: file.path)[0]
        let expected = try step.double("loss", in: file.path)
        #expect(abs(loss - expected) <= 5e-6 * expected)
        try GradientTests.expectGradients(gradients, try golden("stacked_grads"), prefix: "", "stacked")
        let norm = model.kernels.sumOfSquares(gradients.parameters).squareRoot()
        #expect(abs(norm - (try step.double("grad_norm", in: file.path))) <= 5e-5)
    }
}
