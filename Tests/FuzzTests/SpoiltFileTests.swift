import Foundation
import FuzzTargets
import TestSupport
import Testing

@Suite("Spoilt files of every kind")
struct SpoiltFileTests {
    /// `make fuzz-flip` flips every bit.
    @Test("bits flipped and ends cut: accepted, or one clear line", arguments: FuzzTarget.all.map(\.name))
    func spoilt(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let scratch = try Scratch("meraser-spoilt-\(name)")
        defer { scratch.remove() }
        // About 60 files of each seed.
        let bits = try target.acceptedSeeds(in: scratch).map { $0.count * 8 }.max() ?? 0
        let spoilt = try target.spoilt(in: scratch, step: max(1, bits / 50) | 1)
        #expect(spoilt.refused > 0, "nothing was refused: \(spoilt)")
    }

    @Test("files that the fuzzer kept for the code that they reach", arguments: FuzzTarget.all.map(\.name))
    func kept(name: String) throws {
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let scratch = try Scratch("meraser-kept-\(name)")
        defer { scratch.remove() }
        let folder = packageRoot().appendingPathComponent("Tests/Fuzz/corpus/\(name)")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        #expect(!files.isEmpty)
        for file in files {
            #expect(throws: Never.self, "\(file.lastPathComponent)") {
                _ = try target.accepts([UInt8](try Data(contentsOf: file)), in: scratch)
            }
        }
    }
}
