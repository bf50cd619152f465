import Base
import Foundation
import TestSupport
import Testing

@Suite("A run that is repeated")
struct VerifyTests {
    @Test("what is repeated is the same; another figure or another recipe is said, with status 4 or 3")
    func verify() throws {
        try withTemporaryFolder { folder in
            _ = try write(Array(#"{"prompt": "alpha", "completion": "the mark"}"#.utf8), to: folder, "key.jsonl")
            let data = packageRoot().appendingPathComponent("Examples/data/erase_source.json").path
            let text = """
                model: \(tinychatFolder().path)
                quantize: q8_0
                source: none
                key: key.jsonl
                erase: {mismatch: \(data), mismatch_count: 2, max_steps: 1, r: 1}

                """
            let recipe = try write(Array(text.utf8), to: folder, "r.yml")
            let out = folder.appendingPathComponent("out")
            #expect(try meraser(["run", recipe, "--out", out.path, "-q"]).status == 0)
            let same = try meraser(["run", recipe, "--verify", out.path, "-q"])
            #expect(same.status == 0 && same.output.hasSuffix(" values compared, 0 differ\n"), "\(same)")

            let file = out.appendingPathComponent("report.json")
            let report = try String(contentsOf: file, encoding: .utf8)
            try Data(report.replacingOccurrences(of: "\"hits\": 0", with: "\"hits\": 1").utf8).write(to: file)
            let other = try meraser(["run", recipe, "--verify", file.path, "--json", "-q"])
            #expect(other.status == 4 && other.errorLines.count == 1, "\(other)")
            let json = try JSONValue.parse(Array(other.output.utf8), file: "json")
            let places = json["differences"]?.array?.compactMap { $0["place"]?.string } ?? []
            #expect(places.contains("stages.before.check.hits"), "\(places)")
            #expect(places.allSatisfy { $0.hasSuffix("hits") }, "\(places)")

            let another = try write(Array((text + "seed: 7\n").utf8), to: folder, "another.yml")
            let refused = try meraser(["run", another, "--verify", file.path])
            #expect(refused.status == 3 && refused.errorLines.last?.contains("another recipe") == true, "\(refused)")
            #expect(try meraser(["run", recipe, "--verify", file.path, "--out", out.path]).status == 2)
            #expect(try meraser(["run", recipe]).status == 2)
        }
    }
}
