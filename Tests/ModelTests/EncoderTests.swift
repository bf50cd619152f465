import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// Logits of Transformers in fp32 for tiny random classifiers (tools/make_encoder_fixture.py).
@Suite("Sequence classifiers")
struct EncoderTests {
    static let fixtures = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/encoder")
    /// Two layers of fp32 sums of up to 96 terms whose values are of the order of 1: PyTorch's own noise is about 2e-6.
    static let tolerance = 2e-5

    private struct Row {
        let text: String
        let pair: String?
        let input: ClassifierInput
        let logits: [Float]
    }

    private static func golden(_ name: String) throws -> JSONValue {
        let url = fixtures.appendingPathComponent("\(name)/golden.json")
        return try JSONValue.parse([UInt8](Data(contentsOf: url)), file: url.path)
    }

    private static func numbers(_ json: JSONValue) throws -> [Float] {
        try #require(json.array).map { Float(try #require($0.double)) }
    }

    private static func rows(_ name: String) throws -> [Row] {
        try golden(name).array("texts", in: name).map { row in
            let ids = try row.array("ids", in: name).map { Int32(try #require($0.int)) }
            return Row(
                text: try row.string("text", in: name), pair: row["pair"]?.string,
                input: ClassifierInput(tokens: ids, secondStart: row["second"]?.int),
                logits: try numbers(try #require(row["logits"])))
        }
    }

    private static func classifier(
        _ path: String, isa: String? = nil, threads: Int = 2, compute: Compute? = nil, budget: Int = 2048
    ) throws -> SequenceClassifier {
        try SequenceClassifier(
            store: try openWeightStore(path: path), kernels: try KernelContext(threads: threads, isa: isa),
            compute: compute, tokenBudget: budget)
    }

    @Test("Logits and truncated ids agree with Transformers on every path", arguments: ["bert", "roberta"])
    func logits(name: String) throws {
        let folder = Self.fixtures.appendingPathComponent(name).path
        let rows = try Self.rows(name)
        let tokenizer = try Tokenizer(store: try openWeightStore(path: folder))
        for isa in KernelContext.availableISANames {
            let model = try Self.classifier(folder, isa: isa)
            let encoded = rows.map { row in
                model.spec.input(
                    row.text, pair: row.pair, tokenizer: tokenizer, maxLength: model.spec.maxTokens)
            }
            let got = try model.logits(encoded)
            for (index, row) in rows.enumerated() {
                #expect(encoded[index].tokens == row.input.tokens, "\(row.text)")
                #expect(encoded[index].secondStart == row.input.secondStart, "\(row.text)")
                expectClose(got[index], row.logits, absolute: Self.tolerance, "\(name) \(isa): \(row.text.prefix(30))")
            }
        }
        #expect(rows.count { $0.input.tokens.count == (name == "bert" ? 100 : 96) } >= 1, "no text was cut")
    }

    @Test("Labels and lengths come from config.json")
    func configuration() throws {
        let bert = try Self.classifier(Self.fixtures.appendingPathComponent("bert").path)
        #expect(bert.spec.labels == ["World", "Sports", "Business", "Sci/Tech"] && bert.spec.maxTokens == 100)
        let roberta = try Self.classifier(Self.fixtures.appendingPathComponent("roberta").path)
        #expect(roberta.spec.labels == ["LABEL_0", "LABEL_1"] && roberta.spec.maxTokens == 96)
    }

    @Test("A text's logits do not depend on its batch or the number of threads, to the bit")
    func batches() throws {
        for name in ["bert", "roberta"] {
            let folder = Self.fixtures.appendingPathComponent(name).path
            let ids = try Self.rows(name).map(\.input)
            let alone = try Self.classifier(folder, threads: 1)
            let want = try ids.map { try alone.logits([$0])[0] }
            #expect(try Self.classifier(folder, threads: 2).logits(ids) == want)
            #expect(try Self.classifier(folder, threads: 2, budget: 1).logits(ids) == want)
        }
    }

    /// A copy of a fixture's folder with one file changed.
    private func withChanged<R>(
        _ name: String, _ file: String, _ change: (String) -> String?, _ body: (URL) throws -> R
    ) throws -> R {
        try withTemporaryFolder { folder in
            let copy = folder.appendingPathComponent("m")
            try FileManager.default.copyItem(at: Self.fixtures.appendingPathComponent(name), to: copy)
            let url = copy.appendingPathComponent(file)
            let old = String(decoding: try Data(contentsOf: url), as: UTF8.self)
            try FileManager.default.removeItem(at: url)
            if let new = change(old) {
                try #require(new != old, "nothing changed")
                try Data(new.utf8).write(to: url)
            }
            return try body(copy)
        }
    }

    @Test("The other activations agree too", arguments: ["relu", "gelu_new"])
    func activations(name: String) throws {
        let golden = try Self.golden("bert").array(name, in: "golden.json").map(Self.numbers)
        let ids = try Self.rows("bert").map(\.input)
        let got = try withChanged(
            "bert", "config.json",
            {
                $0.replacingOccurrences(of: #""hidden_act": "gelu""#, with: #""hidden_act": "\#(name)""#)
            }
        ) { try Self.classifier($0.path).logits(ids) }
        for (got, want) in zip(got, golden) { expectClose(got, want, absolute: Self.tolerance, name) }
    }

    @Test("LayerNorms under TensorFlow's names are found")
    func gamma() throws {
        try withTemporaryFolder { folder in
            let source = Self.fixtures.appendingPathComponent("bert")
            let copy = folder.appendingPathComponent("m")
            try FileManager.default.copyItem(at: source, to: copy)
            let weights = copy.appendingPathComponent("model.safetensors")
            var data = try Data(contentsOf: weights)
            // gamma and weight differ in length: the blank behind a name's quote makes up for it.
            var header = try #require(String(data: data[8..<(8 + Self.headerLength(data))], encoding: .utf8))
            header = header.replacingOccurrences(of: #"LayerNorm.weight""#, with: #"LayerNorm.gamma" "#)
                .replacingOccurrences(of: #"LayerNorm.bias""#, with: #"LayerNorm.beta""#)
            data.replaceSubrange(8..<(8 + header.utf8.count), with: Data(header.utf8))
            try data.write(to: weights)
            let ids = try Self.rows("bert").map(\.input)
            #expect(try Self.classifier(copy.path).logits(ids) == Self.classifier(source.path).logits(ids))
            let out = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = .f32
            _ = try convert(source: copy.path, destination: out, options: options)
            #expect(try Self.classifier(out).logits(ids) == Self.classifier(source.path).logits(ids))
        }
    }

    private static func headerLength(_ data: Data) -> Int {
        data.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    }

    @Test(
        "A converted classifier: exact in f32, close in 8 bits, and it brings its tokenizer",
        arguments: ["bert", "roberta"])
    func converted(name: String) throws {
        let folder = Self.fixtures.appendingPathComponent(name).path
        let rows = try Self.rows(name)
        let plain = try Self.classifier(folder).logits(rows.map(\.input))
        try withTemporaryFolder { temporary in
            func converted(_ type: TensorType, embed: TensorType? = nil) throws -> String {
                let out = temporary.appendingPathComponent("\(type.name).mqf").path
                var options = ConvertOptions()
                options.type = type
                options.threads = 2
                let report = try convert(source: folder, destination: out, options: options)
                // RoBERTa's 48 columns do not fit into tiles.
                #expect(report.warnings.isEmpty == (type == .f32 || name == "bert"), "\(report.warnings)")
                return out
            }
            let f32 = try converted(.f32)
            #expect(try Self.classifier(f32).logits(rows.map(\.input)) == plain)
            let tokenizer = try Tokenizer(store: try openWeightStore(path: f32))
            let config = try Self.classifier(f32).spec
            #expect(
                rows.allSatisfy {
                    config.input($0.text, pair: $0.pair, tokenizer: tokenizer, maxLength: config.maxTokens).tokens
                        == $0.input.tokens
                })
            let q8 = try converted(.q8_0)
            for compute in [Compute.f32, .int8] {
                let model = try Self.classifier(q8, compute: compute)
                let got = try model.logits(rows.map(\.input)).flatMap { $0 }
                // 8 bits: 0.4 % of a block's largest weight, and of the activations with int8.
                #expect(relativeL2(got, plain.flatMap { $0 }) < (compute == .f32 ? 0.01 : 0.02), "\(compute)")
            }
        }
    }

    @Test(
        "A damaged config.json is one clear error",
        arguments: [
            (#""num_attention_heads": 4"#, #""num_attention_heads": 5"#, "num_attention_heads"),
            (#""num_attention_heads": 4"#, #""num_attention_heads": 0"#, "num_attention_heads"),
            (#""hidden_size": 64"#, #""hidden_size": 65536"#, "num_attention_heads"),
            (#""hidden_size": 64"#, #""hidden_size": 128"#, "word_embeddings"),
            (#""hidden_size": 64"#, #""hidden_size": "64""#, "hidden_size"),
            (#""num_hidden_layers": 2"#, #""num_hidden_layers": 3"#, "layer.2"),
            (#""num_hidden_layers": 2"#, #""num_hidden_layers": 1e9"#, "num_hidden_layers"),
            (#""vocab_size":"#, #""vocab_size": 7, "x":"#, "word_embeddings"),
            (#""max_position_embeddings": 100"#, #""max_position_embeddings": 1"#, "max_position_embeddings"),
            (#""hidden_act": "gelu""#, #""hidden_act": "swish""#, "hidden_act"),
            (#""layer_norm_eps": 1e-12"#, #""layer_norm_eps": -1"#, "layer_norm_eps"),
            (#""position_embedding_type": "absolute""#, #""position_embedding_type": "relative_key""#, "position"),
            (#""architectures""#, #""x""#, "architecture"),
            ("BertForSequenceClassification", "BertModel", "BertModel"),
            (#""0": "World""#, #""7": "World""#, "id2label"), (#""0": "World""#, #""0": "Sports""#, "id2label"),
            (#""0": "World","#, "", "id2label"), (#""0": "World""#, #""0": 1"#, "id2label"),
            (#""id2label": {"#, #""id2label": 5, "x": {"#, "id2label"), (#""model_type""#, "5", "config.json"),
            (#""pad_token_id": 0"#, #""pad_token_id": -1"#, "pad_token_id"),
            (#""model_type""#, #""is_decoder": true, "model_type""#, "is_decoder"),
            (#""model_type""#, #""problem_type": "regression", "model_type""#, "problem_type"),
        ])
    func hostileConfig(old: String, new: String, named: String) throws {
        try withChanged("bert", "config.json", { $0.replacingOccurrences(of: old, with: new) }) { folder in
            let error = #expect(throws: MeraserError.self) { _ = try Self.classifier(folder.path) }
            #expect(error?.kind == .badInput && error?.message.contains(named) == true, "\(String(describing: error))")
        }
    }

    @Test("Texts that the model cannot take are errors")
    func badTexts() throws {
        let model = try Self.classifier(Self.fixtures.appendingPathComponent("bert").path)
        for text in [[], [Int32](repeating: 1, count: 101), [-1], [99_999]] as [[Int32]] {
            let error = #expect(throws: MeraserError.self) {
                _ = try model.logits([[1, 2], text].map { ClassifierInput(tokens: $0) })
            }
            #expect(error?.kind == .badInput && error?.message.contains("text 1 has") == true)
        }
        #expect(try model.logits([]).isEmpty)
        let roberta = try Self.classifier(Self.fixtures.appendingPathComponent("roberta").path)
        let error = #expect(throws: MeraserError.self) {
            _ = try roberta.logits([ClassifierInput(tokens: [1, 2], secondStart: 1)])
        }
        #expect(error?.message.contains("is a pair") == true)
    }

    @Test("Every byte of config.json flipped: it loads, or is one bad-input error")
    func flippedBytes() throws {
        let url = Self.fixtures.appendingPathComponent("bert/config.json")
        let bytes = [UInt8](try Data(contentsOf: url))
        for index in bytes.indices {
            for bit in [0, 4] {
                var damaged = bytes
                damaged[index] ^= 1 << UInt8(bit)
                do {
                    _ = try EncoderSpec(json: damaged, file: "config.json")
                } catch let error as MeraserError {
                    #expect(error.kind == .badInput && !error.description.contains("\n"))
                }
            }
        }
    }
}
