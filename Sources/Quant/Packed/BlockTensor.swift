import Base
import CKernels
import Foundation

/// A matrix in bitsandbytes' 4 bits (NF4 or FP4): codes of 16 values, two a byte, in blocks of the flattened matrix
/// that share a scale; the scales themselves may be codes of 256 values in blocks of scales. Thread-safe.
///
/// Source: bitsandbytes 0.50, functional.py, `QuantState.as_dict` and `dequantize_4bit`. Beside `X.weight` lie
/// `X.weight.absmax`, `.quant_map`, `.quant_state.bitsandbytes__nf4` (JSON), and for codes as scales `.nested_absmax`
/// and `.nested_quant_map`.
struct BlockTensor: PackedTensor {
    let name: String
    let shape: [Int]
    let codes: StoredPart
    let partNames: [String]
    let exactType: TensorType? = nil

    /// Elements of a block.
    private let block: Int
    /// What the 16 codes mean.
    private let values: [Float]
    private let scales: Scales

    /// Where the scales of the blocks are.
    private enum Scales {
        case plain(StoredPart)
        /// codes[i] means map[code] · scales[i / block] + offset.
        case nested(codes: StoredPart, map: [Float], scales: StoredPart, block: Int, offset: Float)
    }

    static let stateInfix = ".quant_state.bitsandbytes__"
    /// JSON of a state has about 300 bytes.
    private static let maximumStateByteCount = 1 << 16

    /// All that a folder has. Errors (`badInput`): parts that are missing or do not fit.
    static func all(in folder: SafetensorsFolder) throws -> [BlockTensor] {
        try folder.tensorNames.compactMap { state in
            guard let place = state.range(of: stateInfix) else { return nil }
            return try BlockTensor(String(state[..<place.lowerBound]), state: state, in: folder)
        }
    }

    private init(_ name: String, state stateName: String, in folder: SafetensorsFolder) throws {
        let part = try folder.part(stateName, of: name)
        let state = try State(part)
        codes = try folder.part(name, of: stateName)
        guard let count = product(state.shape[0], state.shape[1]), codes.entry.byteCount == count / 2 + count % 2 else {
            throw codes.error("has \(codes.entry.byteCount) bytes, expected half a byte for each of \(state.shape)")
        }
        let map = try folder.part(name + ".quant_map", of: name)
        try map.require(StoredPart.floatTypes, [16])
        values = try map.floats(0..<16)
        let absmax = try folder.part(name + ".absmax", of: name)
        let blocks = (count - 1) / state.block + 1
        var names = [name, stateName, map.name, absmax.name]
        if let nested = state.nested {
            try absmax.require(["U8"], [blocks])
            let (inner, innerMap) = (
                try folder.part(name + ".nested_absmax", of: name),
                try folder.part(name + ".nested_quant_map", of: name)
            )
            try inner.require(StoredPart.floatTypes, [(blocks - 1) / nested.block + 1])
            try innerMap.require(StoredPart.floatTypes, [256])
            scales = .nested(
                codes: absmax, map: try innerMap.floats(0..<256), scales: inner, block: nested.block,
                offset: nested.offset)
            names += [inner.name, innerMap.name]
        } else {
            try absmax.require(StoredPart.floatTypes, [blocks])
            scales = .plain(absmax)
        }
        (self.name, shape, block, partNames) = (name, state.shape, state.block, names)
    }

    /// What the JSON beside a matrix says.
    private struct State {
        let shape: [Int]
        let block: Int
        let nested: (block: Int, offset: Float)?

        init(_ part: StoredPart) throws {
            guard part.entry.dtype == "U8", (2...BlockTensor.maximumStateByteCount).contains(part.entry.byteCount)
            else {
                throw part.error("has dtype \(part.entry.dtype) and \(part.entry.byteCount) bytes, expected JSON as U8")
            }
            let label = "\(part.file.path): \(part.name)"
            let json = try JSONValue.parse(try part.bytes(0..<part.entry.byteCount), file: label)
            func block(_ key: String) throws -> Int {
                let size = try json.int(key, in: label)
                guard (32...1 << 16).contains(size), size.nonzeroBitCount == 1 else {
                    throw part.error("says '\(key)' \(size), expected a power of two from 32 on")
                }
                return size
            }
            let type = try json.string("quant_type", in: label)
            guard ["nf4", "fp4"].contains(type) else {
                throw part.error("says 'quant_type' \(quoted(type)), read are nf4 and fp4")
            }
            let shape = try json.array("shape", in: label).map { $0.int ?? 0 }
            guard shape.count == 2, shape.allSatisfy({ $0 >= 1 }) else {
                throw part.error("says 'shape' \(shape), expected two dimensions of at least 1")
            }
            (self.shape, self.block) = (shape, try block("blocksize"))
            guard json["nested_blocksize"] != nil else {
                nested = nil
                return
            }
            let offset = Float(try json.double("nested_offset", in: label))
            guard offset.isFinite else { throw part.error("says 'nested_offset' \(offset), expected a finite number") }
            nested = (try block("nested_blocksize"), offset)
        }
    }

    /// The scales of those blocks.
    private func scales(_ range: Range<Int>) throws -> [Float] {
        switch scales {
        case .plain(let part): return try part.floats(range)
        case .nested(let codes, let map, let scales, let block, let offset):
            let first = range.lowerBound / block
            let factors = try scales.floats(first..<(range.upperBound - 1) / block + 1)
            let bytes = try codes.bytes(range)
            return bytes.indices.map { i in
                map[Int(bytes[i])] * factors[(range.lowerBound + i) / block - first] + offset  // bounded: floats
            }
        }
    }

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        guard !rows.isEmpty else { return }
        let (first, end) = (rows.lowerBound * shape[1], rows.upperBound * shape[1])  // bounded: elements
        let scales = try scales(first / block..<(end - 1) / block + 1)
        let bytes = try codes.bytes(first / 2..<(end + 1) / 2)
        bytes.withUnsafeBufferPointer { bytes in
            mk_unpack_blocks(
                bytes.baseAddress, Int64(first), Int64(end - first), Int64(block), scales, values, target)
        }
    }
}
