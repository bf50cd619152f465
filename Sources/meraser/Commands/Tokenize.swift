import ArgumentParser
import Base
import Foundation
import Model
import Quant

struct Tokenize: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the tokens of a text.",
        discussion: "Example: meraser tokenize --model Examples/tinychat 'Hello, world'")

    @Option(
        help: "An .mqf file, a Hugging Face folder, or a GGUF file (one with a vocabulary alone will do).",
        completion: .file())
    var model: String

    @Argument(help: "The text.")
    var text: String?

    @Option(help: "Read the text from this file.", completion: .file())
    var file: String?

    @Flag(help: "Leave out what the tokenizer adds around a text (BOS).")
    var noBos = false

    @Flag(help: "Treat the text as a user's message and show the tokens of the model's chat template around it.")
    var chat = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if (text == nil) == (file == nil) { throw ValidationError("give either a text or --file") }
    }

    func run() throws {
        let files = try openTextFiles(path: model)
        let tokenizer = try Tokenizer(store: files)
        var bytes =
            try file.map { path in try MappedFile(path: path).withBytes { Array($0) } } ?? Array((text ?? "").utf8)
        if chat {
            guard let template = try ChatTemplate.load(store: files, specialTokens: tokenizer.specialTokens) else {
                throw MeraserError.usage("--chat: \(model) has no chat template")
            }
            let message = ChatMessage(role: "user", content: String(decoding: bytes, as: UTF8.self))
            bytes = Array(try template.render(Conversation([message]), addGenerationPrompt: true).utf8)
        }
        // A template writes BOS itself.
        let ids = tokenizer.encode(utf8: bytes, addSpecialTokens: !noBos && !chat)
        let pieces = ids.map { String(decoding: tokenizer.tokenBytes($0), as: UTF8.self) }
        if common.json {
            Console.json([
                "ids": .array(ids.map { .integer(Int($0)) }), "tokens": .array(pieces.map { .text($0) }),
                "count": .integer(ids.count),
            ])
        } else {
            Console.output(zip(ids, pieces).map { "\($0)\t\($1.escapingControlCharacters())" }.joined(separator: "\n"))
        }
    }
}
