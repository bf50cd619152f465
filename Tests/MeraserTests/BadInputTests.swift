import Foundation
import TestSupport
import Testing

/// One way to damage a file.
private func damage(_ url: URL, _ change: (inout Data) -> Void) throws {
    var data = try Data(contentsOf: url)
    change(&data)
    try data.write(to: url)
}

private func replace(_ text: String, by other: String, in url: URL) throws {
    let old = String(decoding: try Data(contentsOf: url), as: UTF8.self)
    let new = old.replacingOccurrences(of: text, with: other)
    try #require(old != new, "\(url.lastPathComponent) has no '\(text)'")
    try Data(new.utf8).write(to: url)
}

/// Converting the damaged folder ends in one line with status 3 that names `word`, and leaves nothing behind.
private func expectRefused(_ model: URL, _ word: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let out = model.deletingLastPathComponent().appendingPathComponent("out")
    try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
    let result = try meraser(["convert", model.path, "--out", out.appendingPathComponent("m.mqf").path, "-q"])
    #expect(result.status == 3, "\(result.error)", sourceLocation: sourceLocation)
    #expect(result.errorLines.count == 1, "\(result.error)", sourceLocation: sourceLocation)
    #expect(result.error.hasPrefix("meraser: error: "), sourceLocation: sourceLocation)
    #expect(result.error.contains(word), "\(result.error)", sourceLocation: sourceLocation)
    #expect(result.output.isEmpty, sourceLocation: sourceLocation)
    #expect(try names(in: out).isEmpty, sourceLocation: sourceLocation)
}

@Test("a safetensors file that was cut is refused")
func cutSafetensors() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        try damage(model.appendingPathComponent("model.safetensors")) { $0.removeLast(1000) }
        try expectRefused(model, "model.safetensors")
    }
}

@Test("a safetensors file with a flipped bit in its header is refused", arguments: [3, 8, 9, 40])
func flippedSafetensorsHeader(byte: Int) throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        try damage(model.appendingPathComponent("model.safetensors")) { $0[byte] ^= 0x10 }
        try expectRefused(model, "safetensors")
    }
}

@Test("a missing weight file is refused")
func missingWeights() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        try FileManager.default.removeItem(at: model.appendingPathComponent("model.safetensors"))
        try expectRefused(model, "safetensors")
    }
}

@Test("a missing shard is refused by its name")
func missingShard() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        let weights = model.appendingPathComponent("model.safetensors")
        try FileManager.default.moveItem(
            at: weights, to: model.appendingPathComponent("model-00001-of-00002.safetensors"))
        let index = #"""
            {"metadata": {"total_size": 2}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors",
            "lm_head.weight": "model-00002-of-00002.safetensors"}}
            """#
        try Data(index.utf8).write(to: model.appendingPathComponent("model.safetensors.index.json"))
        try expectRefused(model, "model-00002-of-00002.safetensors")
    }
}

@Test("a wrong shape is refused with the tensor and both shapes")
func wrongShape() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        let config = model.appendingPathComponent("config.json")
        try replace("\"intermediate_size\": 704", by: "\"intermediate_size\": 736", in: config)
        try expectRefused(model, "[736, 256]")
    }
}

@Test("an unknown architecture is refused with those that are known")
func unknownArchitecture() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        try replace("LlamaForCausalLM", by: "MambaForCausalLM", in: model.appendingPathComponent("config.json"))
        try expectRefused(model, "LlamaForCausalLM")
    }
}

@Test("a config.json that was cut or has an impossible number is refused by its name")
func badConfig() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        let config = model.appendingPathComponent("config.json")
        let whole = try Data(contentsOf: config)
        try damage(config) { $0.removeLast($0.count / 2) }
        try expectRefused(model, "config.json")
        try whole.write(to: config)
        try replace("\"num_hidden_layers\": 6", by: "\"num_hidden_layers\": 600000000000", in: config)
        try expectRefused(model, "num_hidden_layers")
    }
}

@Test("a tokenizer.json that was cut or damaged is refused when it is used")
func badTokenizer() throws {
    try withTemporaryFolder { folder in
        let model = try copyOfTinychat(in: folder)
        let file = model.appendingPathComponent("tokenizer.json")
        let whole = try Data(contentsOf: file)
        for change in [{ (data: inout Data) in data.removeLast(data.count / 3) }, { $0[0] ^= 0x20 }] {
            try whole.write(to: file)
            try damage(file, change)
            let result = try meraser(["tokenize", "--model", model.path, "text"])
            #expect(result.status == 3, "\(result.error)")
            #expect(result.errorLines.count == 1 && result.error.contains("tokenizer.json"), "\(result.error)")
        }
    }
}

@Test("an MQF file that was cut or has a flipped bit is refused, wherever the bit is")
func badMQF() throws {
    try withTemporaryFolder { folder in
        let file = folder.appendingPathComponent("m.mqf")
        #expect(try meraser(["convert", tinychatFolder().path, "--out", file.path, "-q"]).status == 0)
        let whole = try Data(contentsOf: file)
        try whole.dropLast(4096).write(to: file)
        let cut = try meraser(["inspect", file.path])
        #expect(cut.status == 3 && cut.errorLines.count == 1, "\(cut.error)")
        // Header, metadata, directory, and data: the last is found by --verify only.
        for place in [5, 60, 200, 10_000, whole.count - 5000] {
            var data = whole
            data[place] ^= 0x04
            try data.write(to: file)
            let result = try meraser(["inspect", "--verify", file.path])
            #expect(result.status == 3 && result.errorLines.count == 1, "byte \(place): \(result.error)")
            #expect(result.error.contains("m.mqf"), "\(result.error)")
        }
    }
}

@Test("a dataset that is empty, cut, or of no known shape is refused, and no run is left behind")
func badDatasets() throws {
    try withTemporaryFolder { folder in
        let data = folder.appendingPathComponent("data.json")
        let out = folder.appendingPathComponent("out")
        let contents = [
            "", "[]", #"[{"question": "a", "answer": "b"}"#, #"[{"colour": "red"}]"#,
            #"[{"question": "a", "answer": "b"}, {"question": "c"}]"#, #"[{"question": "a", "answer": 5}]"#,
        ]
        for text in contents {
            try Data(text.utf8).write(to: data)
            let result = try meraser([
                "erase", "--model", tinychatFolder().path, "--data", data.path, "--out", out.path, "-q",
            ])
            #expect(result.status == 3, "'\(text)': \(result.error)")
            #expect(result.errorLines.count == 1 && result.error.contains("data.json"), "\(result.error)")
            #expect(!FileManager.default.fileExists(atPath: out.path))
        }
    }
}

@Test("a full disk ends in one line with status 1 and no file")
func fullDisk() throws {
    try withTemporaryFolder { folder in
        let out = folder.appendingPathComponent("out")
        try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
        // The largest file that the shell allows stands in for the disk: writing beyond it fails the same way.
        let result = try meraser(
            ["convert", tinychatFolder().path, "--out", out.appendingPathComponent("m.mqf").path, "-q"],
            limiting: "ulimit -f 2000; trap '' XFSZ")
        #expect(result.status == 1, "\(result.error)")
        #expect(result.errorLines.count == 1 && result.error.contains("m.mqf"), "\(result.error)")
        #expect(try names(in: out).isEmpty)
    }
}

@Test("control characters of file names are escaped in errors")
func escapesControlCharacters() throws {
    let result = try meraser(["inspect", "/nowhere/\u{1B}[31mred"])
    #expect(result.status == 3)
    #expect(!result.error.contains("\u{1B}") && result.error.contains("\\u{1b}"), "\(result.error)")
}

@Test("an output that exists is refused and kept")
func existingOutput() throws {
    try withTemporaryFolder { folder in
        let file = folder.appendingPathComponent("m.mqf")
        try Data("mine".utf8).write(to: file)
        let result = try meraser(["convert", tinychatFolder().path, "--out", file.path, "-q"])
        #expect(result.status == 2 && result.error.contains("--overwrite"), "\(result.error)")
        #expect(try Data(contentsOf: file) == Data("mine".utf8))
    }
}
