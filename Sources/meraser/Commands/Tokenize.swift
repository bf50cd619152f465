import ArgumentParser
import Audit
import Base
import Foundation
import Model
import Quant

struct Tokenize: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the tokens of a text.",
        discussion: "Example: meraser tokenize --model Examples/tinychat 'Hello, world'")

    @Option(
        name: .shortAndLong,
        help:
            "An .mqf file, a Hugging Face folder, or a GGUF file (what has a tokenizer alone will do).",
        completion: .file())
    var model: String

    @Argument(help: "The text.")
    var text: String?

    @Option(
        name: .shortAndLong, help: "Read the text from this file; - is standard input.",
        completion: .file())
    var file: String?

    @Option(
        help: "Read texts from this file, a JSON string each line; prints a line of JSON with ids and texts for each.",
        completion: .file(extensions: ["jsonl"]))
    var texts: String?

    @Flag(help: "Leave out what the tokenizer adds around a text (BOS).")
    var noBos = false

    @Flag(help: "Treat the text as a user's message and show the tokens of the model's chat template around it.")
    var chat = false

    @Flag(help: "Show the text before its tokens, as the chat template renders it.")
    var show = false

    @Flag(help: "Say how long loading the tokenizer and encoding the text took, in place of the tokens.")
    var time = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard [text, file, texts].compactMap(\.self).count == 1 else {
            throw ValidationError("give one of: a text, --file, --texts")
        }
        guard texts == nil || !show && !time else {
            throw ValidationError("--show and --time go with a text or --file")
        }
    }

    func run() throws {
        let clock = ContinuousClock()
        let started = clock.now
        let files = try openTextFiles(path: model)
        let tokenizer = try Tokenizer(store: files)
        let loading = clock.now - started
        let template = chat ? try ChatTemplate.load(store: files, specialTokens: tokenizer.specialTokens) : nil
        guard !chat || template != nil else { throw MeraserError.usage("--chat: \(model) has no chat template") }
        func rendered(_ bytes: [UInt8]) throws -> [UInt8] {
            guard let template else { return bytes }
            let message = ChatMessage(role: "user", content: String(decoding: bytes, as: UTF8.self))
            return Array(try template.render(Conversation([message]), addGenerationPrompt: true).utf8)
        }
        // A template writes BOS itself.
        func ids(_ bytes: [UInt8]) -> [Int32] { tokenizer.encode(utf8: bytes, addSpecialTokens: !noBos && !chat) }
        if let texts {
            var lines = JSONLines(try MappedFile(path: texts).withBytes { Array($0) }, file: texts)
            while let (number, value) = try lines.next() {
                guard let bytes = value.utf8 else {
                    throw MeraserError.badInput("\(texts):\(number): \(value.kind), expected a text")
                }
                let ids = ids(try rendered(bytes))
                let result: JSONValue = [
                    "ids": .array(ids.map { .integer(Int($0)) }), "text": .text(tokenizer.decode(ids)),
                    "text_without_special_tokens": .text(tokenizer.decode(ids, skipSpecialTokens: true)),
                ]
                Console.output(result.serialized())
            }
            return
        }
        let bytes = try rendered(
            try file.map { $0 == "-" ? try readStandardInput() : try MappedFile(path: $0).withBytes(Array.init) }
                ?? Array((text ?? "").utf8))
        let begun = clock.now
        let ids = ids(bytes)
        if time {
            return report(loading: loading, encoding: clock.now - begun, byteCount: bytes.count, count: ids.count)
        }
        let pieces = ids.map { String(decoding: tokenizer.tokenBytes($0), as: UTF8.self) }
        let shown = String(decoding: bytes, as: UTF8.self)
        if common.json {
            var result: [(key: String, value: JSONValue)] = [
                ("ids", .array(ids.map { .integer(Int($0)) })), ("tokens", .array(pieces.map { .text($0) })),
                ("count", .integer(ids.count)),
            ]
            if show { result.append(("text", .text(shown))) }
            Console.json(.object(JSONObject(result)))
        } else {
            if show { Console.output(shown.escapingControlCharacters(keepingNewlines: true) + "\n\n") }
            Console.output(zip(ids, pieces).map { "\($0)\t\($1.escapingControlCharacters())" }.joined(separator: "\n"))
        }
    }

    private func report(loading: Duration, encoding: Duration, byteCount: Int, count: Int) {
        let (load, encode) = (loading / .seconds(1), encoding / .seconds(1))
        if common.json {
            Console.json([
                "load_seconds": .real(load), "encode_seconds": .real(encode), "bytes": .integer(byteCount),
                "count": .integer(count),
            ])
        } else {
            Console.output(
                "loaded in \(numberText(1000 * load, 1)) ms; \(byteCount) bytes, \(count) tokens in "
                    + "\(numberText(1000 * encode, 1)) ms: \(numberText(Double(byteCount) / encode / 1e6, 2)) MB/s")
        }
    }
}
