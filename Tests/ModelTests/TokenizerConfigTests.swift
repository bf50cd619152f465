import Base
import Foundation
import Model
import TestSupport
import Testing

/// What tokenizer_config.json and special_tokens_map.json change, against Transformers' AutoTokenizer
/// (tools/make_tokenizer_config_vectors.py).
@Suite("Tokenizer configuration")
struct TokenizerConfigTests {
    private static let names = ["tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"]

    /// An object with the value at a path of keys set, or taken out.
    private func changed(_ object: JSONValue, _ path: ArraySlice<String>, _ value: JSONValue) -> JSONValue {
        guard let key = path.first else { return value }
        var members = (object.object?.members ?? []).map { (key: $0.key.string, value: $0.value) }
        let index = members.firstIndex { $0.key == key }
        if path.count == 1, value["remove"] != nil {
            if let index { members.remove(at: index) }
        } else {
            let inner = changed(index.map { members[$0].value } ?? .object(JSONObject()), path.dropFirst(), value)
            if let index { members[index].value = inner } else { members.append((key, inner)) }
        }
        return .object(JSONObject(members))
    }

    @Test("every key that changes ids, decoded texts or special tokens changes them as it does in Transformers")
    func vectors() throws {
        let url = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/tokenizer_config_vectors.json")
        let root = try JSONValue.parse([UInt8](try Data(contentsOf: url)), file: "vectors")
        let texts = try root.array("texts", in: "vectors").compactMap(\.string)
        let cases = try root.array("cases", in: "vectors")
        #expect(cases.count > 30)
        for entry in cases {
            let name = try entry.string("name", in: "vectors")
            var files: [String: JSONValue?] = [:]
            for file in Self.names {
                let bytes = [UInt8](try Data(contentsOf: tinychatFolder().appendingPathComponent(file)))
                files[file] = try JSONValue.parse(bytes, file: file)
            }
            for change in try entry.array("changes", in: "vectors") {
                let parts = try #require(change.array)
                let file = try #require(parts[0].string)
                let path = try #require(parts[1].array).compactMap(\.string)
                let old = try #require(files[file] ?? nil)
                files[file] = .some(path.isEmpty ? nil : changed(old, path[...], parts[2]))
            }
            func bytes(_ file: String) -> [UInt8]? { (files[file] ?? nil).map { Array($0.serialized().utf8) } }
            let tokenizer = try Tokenizer(
                json: try #require(bytes("tokenizer.json")), config: bytes("tokenizer_config.json"),
                specialTokensMap: bytes("special_tokens_map.json"))
            for (text, want) in zip(texts, try entry.array("ids", in: "vectors")) {
                let want = (want.array ?? []).compactMap { $0.int.map(Int32.init) }
                #expect(tokenizer.encode(text) == want, "\(name): \(text)")
                let raw = tokenizer.encode(text, addSpecialTokens: false)
                if let ends = tokenizer.endOffsets(of: raw, in: text) {
                    #expect(ends.last == text.utf8.count && ends == ends.sorted(), "\(name): \(text)")
                }
            }
            for decoded in try entry.array("decoded", in: "vectors") {
                let ids = try decoded.array("ids", in: "vectors").compactMap { $0.int.map(Int32.init) }
                let text = try decoded.string("text", in: "vectors")
                #expect(tokenizer.decode(ids) == text, "\(name)")
                #expect(tokenizer.decode(ids, skipSpecialTokens: true) == decoded["skipped"]?.string, "\(name)")
                var stream = tokenizer.streamingDecoder()
                #expect(ids.map { stream.append($0) }.joined() + stream.finish() == text, "\(name): streamed")
            }
            let special = try entry.object("special", in: "vectors")
            let got = tokenizer.specialTokens
            #expect(got.count == special.count, "\(name)")
            for (key, value) in special.members { #expect(got[key] == value, "\(name): \(key.string)") }
        }
    }

    @Test(
        "what is no token is refused by file and key",
        arguments: [
            #"{"pad_token": 3}"#, #"{"additional_special_tokens": "<x>"}"#, #"{"additional_special_tokens": [3]}"#,
            #"{"extra_special_tokens": {"pad_token": "<x>"}}"#, #"{"split_special_tokens": 1}"#,
            #"{"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "add_prefix_space": false}"#,
        ])
    func refused(config: String) throws {
        let json = [UInt8](try Data(contentsOf: tinychatFolder().appendingPathComponent("tokenizer.json")))
        let error = try #require(throws: MeraserError.self) { try Tokenizer(json: json, config: Array(config.utf8)) }
        #expect(error.kind == .badInput && error.message.hasPrefix("tokenizer_config.json: "), "\(error.message)")
    }
}
