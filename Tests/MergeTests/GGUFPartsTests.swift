import Base
import Foundation
import Quant
import TestSupport
import Testing

/// A part as llama-gguf-split writes it: only the first has the model's metadata.
private struct Part {
    var number: UInt16
    var count: UInt16 = 3
    var total: Int32 = 3
    var tensor: String
    var architecture: String?

    init(_ number: UInt16) {
        self.number = number
        tensor = ["token_embd.weight", "output_norm.weight", "output.weight"][Int(number)]
        architecture = number == 0 ? "llama" : nil
    }

    func write(to folder: URL, as name: String? = nil) throws {
        var file = GGUFBytes()
        if number == 0, architecture == "llama" {
            file.setLlama(hidden: 4, vocabulary: nil)
        } else if let architecture {
            file.set("general.architecture", architecture)
        }
        file.set("split.no", number)
        file.set("split.count", count)
        file.set("split.tensors.count", total)
        let isVector = tensor == "output_norm.weight"
        let values = [Float](repeating: Float(number) + 1, count: isVector ? 4 : 8)
        file.add(tensor, isVector ? [4] : [2, 4], type: 0, Data(plainBytes(values, type: .f32)))
        try file.bytes.write(to: folder.appendingPathComponent(name ?? "m-0000\(number + 1)-of-00003.gguf"))
    }
}

/// The error of opening three parts after a change, with `D` for the folder.
private func refusal(_ open: String = "m-00001-of-00003.gguf", _ change: (URL) throws -> Void) throws -> String? {
    try withTemporaryFolder { folder in
        for number in 0..<UInt16(3) { try Part(number).write(to: folder) }
        try change(folder)
        let error = mergeError { _ = try GGUFWeights(path: folder.appendingPathComponent(open).path) }
        #expect(error == nil || error?.kind == .badInput)
        return error?.message.replacingOccurrences(of: folder.path, with: "D")
    }
}

@Test("a model in parts is opened from the first; every tensor comes from its own part")
func opensParts() throws {
    try withTemporaryFolder { folder in
        for number in 0..<UInt16(3) { try Part(number).write(to: folder) }
        let weights = try GGUFWeights(path: folder.appendingPathComponent("m-00001-of-00003.gguf").path)
        #expect(weights.tensors.map(\.name) == ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"])
        var raw: [UInt8] = []
        for (index, tensor) in weights.tensors.enumerated() {
            var values = [Float](repeating: 0, count: tensor.rows * tensor.columns)
            try tensor.read(rows: 0..<tensor.rows, into: &values, raw: &raw)
            #expect(values.allSatisfy { $0 == Float(index) + 1 })
        }
        // A file that was put together again says 0 parts.
        var whole = Part(0)
        (whole.count, whole.total) = (0, 0)
        try whole.write(to: folder, as: "whole.gguf")
        #expect(try GGUFWeights(path: folder.appendingPathComponent("whole.gguf").path).tensors.count == 1)
    }
}

@Test("a part that is missing, foreign or not the first is named")
func refusesWrongParts() throws {
    let second = "m-00002-of-00003.gguf"
    #expect(try refusal { _ in } == nil)
    #expect(
        try refusal(second) { _ in }
            == "D/\(second) is part 2 of 3 of a GGUF file; give the first part, D/m-00001-of-00003.gguf")
    let missing = try refusal { try FileManager.default.removeItem(at: $0.appendingPathComponent(second)) }
    #expect(missing?.contains("part 2 of 3") == true && missing?.contains("D/\(second)") == true)
    let renamed = try refusal("x.gguf") { try Part(0).write(to: $0, as: "x.gguf") }
    #expect(renamed?.contains("must end in -00001-of-00003.gguf") == true)
    func changed(_ change: (inout Part) -> Void) throws -> String? {
        var part = Part(1)
        change(&part)
        return try refusal { try part.write(to: $0, as: second) }
    }
    #expect(
        try changed { $0.number = 2 }
            == "D/\(second) says that it is part 3 of 3 with 3 tensors in all, expected part 2 of 3 with 3 tensors in all, "
            + "as D/m-00001-of-00003.gguf says")
    #expect(try changed { $0.count = 4 }?.contains("part 2 of 4") == true)
    #expect(try changed { $0.total = 9 }?.contains("9 tensors") == true)
    #expect(try changed { $0.count = 1 }?.contains("no part") == true)
    #expect(try changed { $0.architecture = "qwen2" }?.contains("belongs to another model") == true)
    #expect(
        try changed { $0.tensor = "token_embd.weight" }
            == "D/\(second): tensor 'token_embd.weight' is in D/m-00001-of-00003.gguf too")
    let few = try refusal { folder in
        for number in 0..<UInt16(3) {
            var part = Part(number)
            part.total = 4
            try part.write(to: folder)
        }
    }
    #expect(few?.contains("have 3 tensors, 'split.tensors.count' says 4") == true)
}
