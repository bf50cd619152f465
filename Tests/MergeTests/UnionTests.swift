import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// Merges of models with different tokenizers, beside what mergekit 0.1.5 gave (`tools/union_parity.py`).
@Suite("Unions of tokenizers") struct UnionTests {
    private let fixtures = packageRoot().appendingPathComponent("Tests/MergeTests/Fixtures")
    private let golden: JSONValue

    init() throws {
        golden = try JSONValue.parse(
            Array(Data(contentsOf: fixtures.appendingPathComponent("union.json"))), file: "union.json")
    }

    private func write(_ folder: URL) throws {
        for name in ["base", "a", "b"] {
            let model = try #require(golden["models"]?[name])
            let file = try GoldenFile(fixtures.appendingPathComponent("union_\(name).safetensors"))
            let tensors = Dictionary(
                uniqueKeysWithValues: try file.names.map { ($0, (try file.shape($0), try file.floats($0))) })
            let place = folder.appendingPathComponent(name)
            try MergeFolders.write(place, tensors, config: try #require(model["config"]).serialized())
            try Data(try #require(model["tokenizer"]).serialized().utf8)
                .write(to: place.appendingPathComponent("tokenizer.json"))
            try Data("x".utf8).write(to: place.appendingPathComponent("added_tokens.json"))
        }
    }

    /// The tokens of a tokenizer.json by their bytes.
    private func ids(_ json: JSONValue) throws -> [[UInt8]: Int] {
        var result: [[UInt8]: Int] = [:]
        for (token, id) in try #require(json["model"]?["vocab"]?.object?.members) { result[token.utf8] = id.int }
        for token in try json.array("added_tokens", in: "t") {
            result[try #require(token["content"]?.utf8)] = try token.int("id", in: "t")
        }
        return result
    }

    @Test("tokens and rows are mergekit's, token by token and bit by bit")
    func mergekit() throws {
        let cases = try golden.array("cases", in: "union.json")
        #expect(cases.count >= 6)
        try withTemporaryFolder { folder in
            try write(folder)
            for (number, item) in cases.enumerated() {
                let name = try item.string("name", in: "union.json")
                let store = try MergeFolders.merge(
                    try #require(item["recipe"]).serialized(), in: folder, out: "out\(number)")
                let json = try JSONValue.parse(try #require(try store.textFile("tokenizer.json")), file: "t")
                let own = try ids(json)
                let wanted = try item.object("ids", in: "union.json")
                #expect(Set(own.keys) == Set(wanted.members.map(\.key.utf8)), "\(name)")
                let count = try item.int("count", in: "union.json")
                for (tensor, rows) in try item.object("rows", in: "union.json").members {
                    let info = try store.tensor(tensor.string).info
                    #expect(info.shape == [count, 4], "\(name)")
                    let values = try store.tensor(tensor.string).floats()
                    for (token, row) in try #require(rows.object?.members) {
                        let id = try #require(own[token.utf8])
                        let want = try #require(row.array).compactMap(\.double).map(Float.init)
                        #expect(
                            Array(values[id * 4..<id * 4 + 4]) == want, "\(name): \(token.string) of \(tensor.string)")
                    }
                }
                let config = try JSONValue.parse(try #require(try store.textFile("config.json")), file: "c")
                #expect(config["vocab_size"]?.int == count)
                #expect(try store.textFile("added_tokens.json") == nil, "what says otherwise does not travel")
            }
        }
    }

    @Test("rules about tokens and models that there are not, and rows that are missing, are refused by name")
    func refuses() throws {
        try withTemporaryFolder { folder in
            try write(folder)
            func refusal(_ tokenizer: String) throws -> String {
                errorText(.badInput) {
                    _ = try MergeFolders.merge(
                        """
                        {"merge_method": "linear", "models": [{"model": "FOLDER/a", "parameters": {"weight": 1}},
                         {"model": "FOLDER/b", "parameters": {"weight": 1}}], "tokenizer": \(tokenizer)}
                        """, in: folder)
                }
            }
            #expect(try refusal(#"{"tokens": {"nowhere": {"source": {"kind": "zero"}}}}"#).contains("'nowhere'"))
            #expect(
                try refusal(#"{"tokens": {"moon": {"source": "FOLDER/base", "force": true}}}"#).contains("no part"))
            #expect(
                try refusal(
                    #"{"tokens": {"moon": {"source": {"kind": "model_token", "model": "FOLDER/b", "token_id": 4000}}}}"#
                ).contains("has no row"))
            #expect(try refusal(#"{"source": "FOLDER/none"}"#).contains("none"))
            // A vocabulary with more tokens than the embedding has rows.
            let place = folder.appendingPathComponent("b/config.json")
            try Data(#"{"model_type": "llama", "num_hidden_layers": 1, "vocab_size": 4000}"#.utf8).write(to: place)
            let file = try GoldenFile(fixtures.appendingPathComponent("union_b.safetensors"))
            let short = try #require(file.names.first { $0 == "model.embed_tokens.weight" })
            var tensors: MergeFolders.Tensors = [:]
            for name in file.names {
                let (shape, values) = (try file.shape(name), try file.floats(name))
                tensors[name] = name == short ? ([8, 4], Array(values[..<32])) : (shape, values)
            }
            let text = try String(contentsOf: place, encoding: .utf8)
            let tokenizer = try Data(contentsOf: folder.appendingPathComponent("b/tokenizer.json"))
            try FileManager.default.removeItem(at: folder.appendingPathComponent("b"))
            try MergeFolders.write(folder.appendingPathComponent("b"), tensors, config: text)
            try tokenizer.write(to: folder.appendingPathComponent("b/tokenizer.json"))
            #expect(try refusal(#"{"source": "union"}"#).contains("its tokens need more"))
        }
    }
}
