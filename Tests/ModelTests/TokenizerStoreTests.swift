import Base
import Foundation
import Model
import Quant
import TestSupport
import Testing

/// A model that has text files only.
private struct FilesOnly: WeightStore {
    var files: [String: String]
    var path: String { "some/model" }
    var tensorNames: [String] { [] }
    func tensor(_ name: String) throws -> TensorView { throw MeraserError.badInput("no tensor '\(name)'") }
    func hasTensor(_ name: String) -> Bool { false }
    func textFile(_ name: String) throws -> [UInt8]? { files[name].map { Array($0.utf8) } }
    func sha256() throws -> String { "" }
    func verify() throws {}
    func releasePages() {}
}

@Suite("Tokenizer and chat template of a model")
struct TokenizerStoreTests {
    private let conversation = [ChatMessage(role: "user", content: "Hi")]

    private func render(_ files: [String: String]) throws -> String? {
        try ChatTemplate.load(store: FilesOnly(files: files))?.render(Conversation(conversation))
    }

    @Test("The bundled model's folder gives both")
    func tinychat() throws {
        let store = try openWeightStore(path: tinychatFolder().path)
        let tokenizer = try Tokenizer(store: store)
        #expect(tokenizer.encode("Hello world") == [1, 3834, 1157])
        let template = try #require(try ChatTemplate.load(store: store))
        let text = try template.render(Conversation(conversation), addGenerationPrompt: true)
        #expect(text == "### Instruction:\nHi\n\n### Response:\n")
    }

    @Test("A template's own file wins over tokenizer_config.json; of several there, the one named default counts")
    func templateSources() throws {
        #expect(try render([:]) == nil)
        #expect(try render(["tokenizer_config.json": "{}"]) == nil)
        #expect(try render(["tokenizer_config.json": #"{"chat_template": "c{{ messages[0].content }}"}"#]) == "cHi")
        #expect(
            try render(["tokenizer_config.json": #"{"chat_template": "c"}"#, "chat_template.jinja": "file"]) == "file")
        let several =
            #"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#
        #expect(try render(["tokenizer_config.json": several]) == "d")
        #expect(throws: MeraserError.badInput("tokenizer_config.json: chat_template lists no template named 'default'"))
        {
            try render(["tokenizer_config.json": #"{"chat_template": []}"#])
        }
    }

    @Test("A model without tokenizer.json gives one error that names it")
    func missing() {
        #expect(
            throws: MeraserError.badInput(
                "some/model: tokenizer.json is missing; expected a Hugging Face tokenizer beside the weights")
        ) {
            try Tokenizer(store: FilesOnly(files: [:]))
        }
    }
}
