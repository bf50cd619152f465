import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("The cache folders of Hugging Face's programs")
struct HuggingFaceCacheTests {
    private let files = FileManager.default

    /// `models--org--name` with a snapshot of a model for each of `commits`, its files links into `blobs`.
    private func writeCache(_ folder: URL, commits: [String], main: String?) throws -> String {
        let root = folder.appendingPathComponent("models--org--tiny-model")
        for (index, commit) in commits.enumerated() {
            let (snapshot, blobs) = (
                root.appendingPathComponent("snapshots/\(commit)"), root.appendingPathComponent("blobs")
            )
            let model = folder.appendingPathComponent("model-\(index)")
            for url in [snapshot, blobs, model] {
                try files.createDirectory(at: url, withIntermediateDirectories: true)
            }
            var checkpoint = TinyCheckpoint()
            checkpoint.tensors["model.norm.weight"]?.values[0] = Float(index)
            try checkpoint.write(to: model)
            for name in try files.contentsOfDirectory(atPath: model.path) {
                let blob = "\(commit)-\(name.utf8.count)"
                try files.moveItem(at: model.appendingPathComponent(name), to: blobs.appendingPathComponent(blob))
                try files.createSymbolicLink(
                    atPath: snapshot.path + "/" + name, withDestinationPath: "../../blobs/" + blob)
            }
        }
        if let main {
            try files.createDirectory(at: root.appendingPathComponent("refs"), withIntermediateDirectories: true)
            _ = try write(Array(main.utf8), to: root.appendingPathComponent("refs"), "main")
        }
        return root.path
    }

    /// The first number of the last norm: which snapshot was opened.
    private func opened(_ path: String) throws -> Float {
        try openWeightStore(path: path).tensor("model.norm.weight").floats()[0]
    }

    @Test("a snapshot and the folder of the model are the model: refs/main says which, else the only one")
    func layouts() throws {
        try withTemporaryFolder { folder in
            let root = try writeCache(folder, commits: ["aaaa", "bbbb"], main: "bbbb\n")
            #expect(try opened(root) == 1)
            #expect(try opened(root + "/") == 1)
            #expect(try opened(root + "/snapshots/aaaa") == 0)
            #expect(try opened(root + "/snapshots/aaaa/model.safetensors") == 0)
            for path in [root, root + "/snapshots/bbbb"] {
                let file = folder.appendingPathComponent("\(path.count).mqf").path
                _ = try convert(source: path, destination: file, options: ConvertOptions())
                #expect(try MQFFile(path: file).metadata.string("general.name") == "org/tiny-model")
            }
            #expect(try openTextFiles(path: root).textFile("tokenizer.json") == Array("{}".utf8))
        }
        try withTemporaryFolder { folder in
            let root = try writeCache(folder, commits: ["cccc"], main: nil)
            #expect(try opened(root) == 0)
        }
    }

    @Test("several snapshots without refs/main are named; so is one that is not there")
    func refusals() throws {
        func text(_ commits: [String], _ main: String?) throws -> String {
            try withTemporaryFolder { folder in
                let path = try writeCache(folder, commits: commits, main: main)
                return errorText { _ = try openTensorSource(path: path) }.replacingOccurrences(of: path, with: "D")
            }
        }
        #expect(
            try text(["b1", "a1"], nil)
                == "D has several snapshots and no refs/main: a1, b1; give one of them, as D/snapshots/a1")
        #expect(
            try text(["a1"], "zz")
                == "D: refs/main names the snapshot 'zz', which is not there; download the model again")
        for main in ["../../a1", "", " ", "a/b", String(repeating: "a", count: 300), ".."] {
            let found = try text(["a1"], main)
            #expect(found.hasPrefix(main.isEmpty ? "D/refs/main is empty" : "D/refs/main holds no name"), "\(found)")
        }
        try withTemporaryFolder { folder in
            let empty = folder.appendingPathComponent("models--x")
            try files.createDirectory(at: empty.appendingPathComponent("snapshots"), withIntermediateDirectories: true)
            #expect(
                errorText { _ = try openTensorSource(path: empty.path) }.hasSuffix(
                    "has no snapshot in it; download the model again"))
        }
    }
}
