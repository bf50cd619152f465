import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// The bundled model with other JSON files: a text, or nil to remove one.
private func model(_ files: [String: String?], _ body: (Transformer) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("stop-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for name in try FileManager.default.contentsOfDirectory(atPath: tinychatFolder().path) {
        if files.keys.contains(name) { continue }
        try FileManager.default.createSymbolicLink(
            at: folder.appendingPathComponent(name), withDestinationURL: tinychatFolder().appendingPathComponent(name))
    }
    for case (let name, let text?) in files {
        try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }
    try body(try Transformer(store: try openWeightStore(path: folder.path), kernels: try KernelContext(threads: 1)))
}

/// The bundled model's config.json with one key set.
private func config(_ key: String, _ value: Any) throws -> String {
    let bytes = try Data(contentsOf: tinychatFolder().appendingPathComponent("config.json"))
    var json = try #require(try JSONSerialization.jsonObject(with: bytes) as? [String: Any])
    json[key] = value
    return String(decoding: try JSONSerialization.data(withJSONObject: json), as: UTF8.self)
}

/// What stops a model, and where its context ends. The stop sets are those of `model.generation_config.eos_token_id` in
/// Transformers 4.57.6 on the same files.
@Suite("Stop tokens and context")
struct StopAndContextTests {
    @Test(
        "generation_config.json says what stops; config.json only where there is none",
        arguments: [
            (#"{"eos_token_id": [2, 483]}"#, [2, 483]), (#"{"eos_token_id": 483}"#, [483]),
            (#"{"eos_token_id": null}"#, []), (#"{"bos_token_id": 1}"#, []), ("{}", []), (#"{"eos_token_id": []}"#, []),
            (nil, [5, 6]),
        ] as [(String?, Set<Int32>)])
    func stopSet(generation: String?, want: Set<Int32>) throws {
        let files = ["generation_config.json": generation, "config.json": try config("eos_token_id", [5, 6])]
        try model(files) { #expect($0.stopTokens == want) }
    }

    @Test(
        "an id that is no token is refused by file and key",
        arguments: [#"{"eos_token_id": [2, 999999]}"#, #"{"eos_token_id": -1}"#, #"{"eos_token_id": "</s>"}"#, "[2]"])
    func refused(generation: String) throws {
        let error = try #require(throws: MeraserError.self) {
            try model(["generation_config.json": generation]) { _ in }
        }
        #expect(error.kind == .badInput && error.message.contains("generation_config.json"), "\(error.message)")
        #expect(generation == "[2]" || error.message.contains("eos_token_id"), "\(error.message)")
    }

    @Test("an output ends where the context is full; a prompt that fills it is refused; nothing reads past it")
    func context() throws {
        try model(["config.json": try config("max_position_embeddings", 16)]) { model in
            let session = InferenceSession(model: model)
            let prompt = [Int32](repeating: 300, count: 12)
            let options = GenerationOptions(maxNewTokens: 9)
            let got = try session.generate([GenerationRequest(prompt: prompt)], options: options)[0]
            #expect(got.tokens.count == 4 && got.ending == .context)
            let short = try session.generate([GenerationRequest(prompt: prompt, maxNewTokens: 4)], options: options)[0]
            #expect(short.tokens == got.tokens && short.ending == .length)
            let full = [Int32](repeating: 300, count: 16)
            let refused = #expect(throws: MeraserError.self) {
                try session.generate([GenerationRequest(prompt: full)], options: options)
            }
            #expect(refused?.message.contains("16 positions") == true)
            #expect(try session.hiddenStates(PackedBatch([full])).rows == 16)
            #expect(throws: MeraserError.self) { try session.hiddenStates(PackedBatch([full + [300]])) }
        }
    }
}
