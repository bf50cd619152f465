import Base
import Foundation
import Quant

/// A safetensors file of golden values: fp32 tensors and int32 token ids.
public struct GoldenFile {
    private let file: SafetensorsFile

    /// Opens the file.
    public init(_ url: URL) throws { file = try SafetensorsFile(path: url.path) }

    /// Names of its tensors.
    public var names: [String] { file.entries.map(\.name) }

    /// The shape of a tensor.
    public func shape(_ name: String) throws -> [Int] { try entry(name).shape }

    /// The numbers of an fp32 tensor, row by row.
    public func floats(_ name: String) throws -> [Float] { try elements(name, dtype: "F32", as: Float.self) }

    /// The numbers of an int32 tensor.
    public func ints(_ name: String) throws -> [Int32] { try elements(name, dtype: "I32", as: Int32.self) }

    private func entry(_ name: String) throws -> SafetensorsEntry {
        guard let entry = file.entry(name) else {
            throw MeraserError.badInput("\(file.path): no tensor '\(name)'")
        }
        return entry
    }

    private func elements<T: BitwiseCopyable>(_ name: String, dtype: String, as type: T.Type) throws -> [T] {
        let entry = try entry(name)
        guard entry.dtype == dtype else {
            throw MeraserError.badInput("\(file.path): '\(name)' is \(entry.dtype), expected \(dtype)")
        }
        return file.file.withBytes { bytes in
            (0..<entry.byteCount / MemoryLayout<T>.size).map {
                bytes.loadUnaligned(fromByteOffset: entry.offset + $0 * MemoryLayout<T>.size, as: T.self)
            }
        }
    }
}
