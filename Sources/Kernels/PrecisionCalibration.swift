import Base
import Foundation
import Quant

/// Which precision trains fastest on this machine, as it was measured, in a file of the user's cache.
public struct PrecisionCalibration: Sendable, Equatable {
    /// The CPU that it was measured on; on another one it does not count.
    public let cpu: CPUIdentity
    /// Tokens a second of a training step: in f32, and in bf16.
    public let (f32, bf16): (Double, Double)

    /// Those figures.
    public init(cpu: CPUIdentity, f32: Double, bf16: Double) {
        (self.cpu, self.f32, self.bf16) = (cpu, f32, bf16)
    }

    /// The faster of the two.
    public var fastest: Compute { bf16 > f32 ? .bf16 : .f32 }

    /// The file in a cache.
    public static func path(in cache: ModelCache) -> String { cache.folder + "/training-precision.json" }

    /// What was measured, or nil where nothing was.
    ///
    /// - Throws: `badInput` naming the file if it is not one of these.
    public init?(in cache: ModelCache) throws {
        let path = Self.path(in: cache)
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        let file = try MappedFile(path: path)
        let json = try file.withBytes { try JSONValue.parse($0, file: path, maximumBytes: 1 << 16) }
        cpu = CPUIdentity(
            vendor: try json.string("vendor", in: path), family: try json.int("family", in: path),
            model: try json.int("model", in: path))
        (f32, bf16) = (try json.double("f32", in: path), try json.double("bf16", in: path))
    }

    /// Keeps it, in place of an earlier one: training computes accordingly from now on.
    ///
    /// - Throws: a runtime error if the cache cannot be written.
    public func save(in cache: ModelCache) throws {
        try cache.makeFolder()
        try writeFileAtomically(
            path: Self.path(in: cache), Array((json.serialized(indent: 2) + "\n").utf8), overwrite: true)
    }

    /// `{"vendor", "family", "model", "f32", "bf16"}`, tokens a second.
    public var json: JSONValue {
        [
            "vendor": .text(cpu.vendor), "family": .integer(cpu.family), "model": .integer(cpu.model),
            "f32": .real(f32), "bf16": .real(bf16),
        ]
    }
}
