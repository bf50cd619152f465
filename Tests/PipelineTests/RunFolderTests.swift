import Base
import Foundation
import TestSupport
import Testing

@testable import Pipeline

/// What a run is begun with.
private func identity(redacted: Bool = false) -> JSONValue {
    .object(JSONObject(Build.current.fields + [("recipe", .text("text")), ("redacted", .bool(redacted))]))
}

private func mode(_ path: String) throws -> Int? {
    try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
}

/// Replaces a text of a record.
private func change(_ path: String, _ old: String, _ new: String) throws {
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try #require(text.contains(old), "\(path): \(text)")
    try Data(text.replacing(old, with: new).utf8).write(to: URL(fileURLWithPath: path))
}

private func refusal(_ body: () throws -> Void) -> String? {
    do { try body() } catch { return (error as? MeraserError)?.message }
    return nil
}

@Suite("A run's folder")
struct RunFolderTests {
    private let numerics = "\"numerics\": \(numericsVersion)"

    @Test("a run and a stage of other numerics or of another build are refused by name")
    func identities() throws {
        try withTemporaryFolder { folder in
            let path = folder.path + "/run"
            func open() throws -> RunFolder { try RunFolder(path: path, identity: identity(), overwrite: false) }
            func stage() throws -> JSONValue {
                try open().stage(.relearn, inputs: ["a": .integer(1)]) { ["fsr": .real(0.5)] }
            }
            _ = try stage()
            #expect(
                try open().stage(.relearn, inputs: ["a": .integer(1)]) { throw CancellationError() }["fsr"]?.double
                    == 0.5)
            for (file, what) in [("/run.json", "holds a run"), ("/stages/relearn.json", "the stage 'relearn'")] {
                try change(path + file, numerics, "\"numerics\": 77")
                let other = refusal { _ = try stage() }
                #expect(other?.contains(what) == true && other?.contains("numerics was 77") == true, "\(other as Any)")
                try change(path + file, "\"numerics\": 77", numerics)
                let id = try #require(Build.current.id)
                try change(path + file, id, "0123456789abcdef")
                #expect(refusal { _ = try stage() }?.contains("built anew") == true)
                try change(path + file, "0123456789abcdef", id)
            }
            _ = try stage()
        }
    }

    @Test("records are their owner's, unless triggers are hashes in them; only a run's own files are replaced")
    func files() throws {
        try withTemporaryFolder { folder in
            for (name, isRedacted, want) in [("open", false, 0o600), ("redacted", true, 0o644)] {
                let path = folder.path + "/" + name
                let run = try RunFolder(path: path, identity: identity(redacted: isRedacted), overwrite: false)
                _ = try run.stage(.relearn, inputs: [:]) { [:] }
                #expect(try mode(path + "/stages/relearn.json") == want)
                #expect(try mode(path + "/run.json") == want)
                try Data().write(to: URL(fileURLWithPath: path + "/thesis.tex"))
                let refused = refusal { _ = try RunFolder(path: path, identity: identity(), overwrite: true) }
                #expect(refused?.contains("'thesis.tex'") == true)
                try FileManager.default.removeItem(atPath: path + "/thesis.tex")
                _ = try RunFolder(path: path, identity: identity(), overwrite: true)
                #expect(!FileManager.default.fileExists(atPath: path + "/stages/relearn.json"))
            }
        }
    }
}
