import Base
import CKernels
import Synchronization

/// A matrix [N, K] as GPTQ or AWQ packs it: codes of a few bits in words of 32, and for each output and each group of
/// inputs a scale and a zero point. Thread-safe.
///
/// Source: AutoGPTQ and GPTQModel, `pack` of their linear layers (`X.qweight` [K / per, N], `X.qzeros` [groups, N /
/// per], `X.scales` [groups, N], `X.g_idx` [K]); AutoAWQ, `WQLinear_GEMM` (`X.qweight` [K, N / 8], qzeros and scales
/// alike).
struct GroupedTensor: PackedTensor {
    let name: String
    let shape: [Int]
    let codes: StoredPart
    /// `q4_0` where that says the same: 4 bits of GPTQ, every zero point 8, and one scale of fp16 for every 32 inputs.
    let exactType: TensorType?
    private let zeros, scales: StoredPart
    /// The group of each input; nil: they follow each other.
    private let groups: StoredPart?
    private let groupSize: Int
    private let layout: Int32
    private let bits: Int
    private let zeroOffset: Int
    private let recent: RecentValues<Unpackable>

    var partNames: [String] { [codes, zeros, scales].map(\.name) + [groups].compactMap { $0?.name } }

    /// All that a folder has. Errors (`badInput`): parts that are missing or do not fit.
    static func all(in folder: SafetensorsFolder, _ method: PackedMethod) throws -> [GroupedTensor] {
        let recent = RecentValues<Unpackable>(limit: 4)
        return try folder.tensorNames.filter { $0.hasSuffix(".qweight") }.map {
            try GroupedTensor(String($0.dropLast(".qweight".count)), in: folder, method, recent)
        }
    }

    private init(
        _ module: String, in folder: SafetensorsFolder, _ method: PackedMethod, _ recent: RecentValues<Unpackable>
    ) throws {
        let name = module + ".weight"
        codes = try folder.part(module + ".qweight", of: name)
        zeros = try folder.part(module + ".qzeros", of: name)
        scales = try folder.part(module + ".scales", of: name)
        guard codes.entry.shape.count == 2, codes.entry.shape.allSatisfy({ $0 >= 1 }) else {
            throw codes.error("has shape \(codes.entry.shape), expected two dimensions of at least 1")
        }
        let (first, last) = (codes.entry.shape[0], codes.entry.shape[1])
        let size: Int?
        var (rows, columns): (Int?, Int?)
        switch method {
        case .gptq(let bits, let groupSize, let zeroOffset):
            (layout, self.bits, self.zeroOffset, size) = (Int32(MK_PACK_GPTQ), bits, zeroOffset, groupSize)
            (rows, columns) = (last, product(first, 32 / bits))
            groups = folder.part(module + ".g_idx")
        case .awq(let groupSize):
            (layout, bits, zeroOffset, size) = (Int32(MK_PACK_AWQ), 4, 0, groupSize)
            (rows, columns) = (product(last, 8), first)
            groups = nil
        case .bitsandbytes: preconditionFailure("bitsandbytes has blocks")
        }
        guard let rows, let columns, rows % (32 / bits) == 0, columns <= Int(Int32.max) else {
            throw codes.error("has shape \(codes.entry.shape), expected whole words of \(bits) bits")
        }
        try codes.require(["I32", "U32"], codes.entry.shape)
        groupSize = size ?? columns
        let count = groups == nil ? (columns - 1) / groupSize + 1 : scales.entry.shape.first ?? 0
        guard (1...columns).contains(count) else { throw scales.error("has shape \(scales.entry.shape)") }
        try zeros.require(["I32", "U32"], [count, rows / (32 / bits)])
        try scales.require(StoredPart.floatTypes, [count, rows])
        try groups?.require(["I32"], [columns])
        (self.name, self.recent, shape) = (name, recent, [rows, columns])
        let isEven = layout == Int32(MK_PACK_GPTQ) && bits == 4 && groupSize % 32 == 0 && columns % 32 == 0
        let eights = UInt32(8 - zeroOffset) * 0x1111_1111  // bounded: eight digits of at most 8
        exactType =
            try isEven && scales.entry.dtype == "F16" && zeros.words(UInt32.self).allSatisfy { $0 == eights }
            && Self.isInOrder(groups, groupSize) ? .q4_0 : nil
    }

    /// True if the groups follow each other.
    private static func isInOrder(_ groups: StoredPart?, _ size: Int) throws -> Bool {
        try groups?.words(Int32.self).enumerated().allSatisfy { Int($0.element) == $0.offset / size } ?? true
    }

    /// All of it, ready to be unpacked. Error (`badInput`): an input of a group that there is not.
    private func load() throws -> Unpackable {
        let (count, rows) = (scales.entry.shape[0], shape[0])
        let elements = count * rows  // bounded: the scales in the file
        let numbers = try groups?.words(Int32.self) ?? (0..<shape[1]).map { Int32($0 / groupSize) }
        if let groups, let place = numbers.firstIndex(where: { $0 < 0 || Int($0) >= count }) {
            throw groups.error("has group \(numbers[place]) at input \(place), expected one of \(count)")
        }
        let words = try zeros.words(UInt32.self)
        let points = [Float](unsafeUninitializedCapacity: elements) { buffer, initialized in
            mk_unpack_zeros(
                layout, Int32(bits), words, Int64(count), Int64(rows), Float(zeroOffset), buffer.baseAddress)
            initialized = elements
        }
        return Unpackable(
            words: try codes.words(UInt32.self), scales: try scales.floats(0..<elements), zeros: points, groups: numbers
        )
    }

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        try withMatrix { mk_unpack_grouped($0, Int64(rows.lowerBound), Int64(rows.count), target) }
    }

    func readTiles(rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws {
        let byteCount = rows.count * (shape[1] / 32) * 18  // bounded: half a byte an element and its scales
        if raw.count < byteCount { raw = [UInt8](repeating: 0, count: byteCount) }
        try raw.withUnsafeMutableBufferPointer { blocks in
            try withMatrix {
                mk_grouped_to_q4_0($0, Int64(rows.lowerBound), Int64(rows.count), blocks.baseAddress)
            }
            mk_ggml_to_tiles(
                Int32(TensorType.q4_0.rawValue), blocks.baseAddress, Int64(rows.count), Int64(shape[1]),
                target.baseAddress)
        }
    }

    /// Calls `body` with the matrix in memory.
    private func withMatrix(_ body: (UnsafePointer<mk_grouped>) -> Void) throws {
        let parts = try recent.value(name, make: load)
        parts.words.withUnsafeBufferPointer { words in
            parts.scales.withUnsafeBufferPointer { scales in
                parts.zeros.withUnsafeBufferPointer { zeros in
                    parts.groups.withUnsafeBufferPointer { groups in
                        var matrix = mk_grouped(
                            layout: layout, bits: Int32(bits), rows: Int64(shape[0]), cols: Int64(shape[1]),
                            words: words.baseAddress, scales: scales.baseAddress, zeros: zeros.baseAddress,
                            groups: groups.baseAddress)
                        body(&matrix)
                    }
                }
            }
        }
    }
}

/// The parts of a `GroupedTensor` in memory.
private struct Unpackable: Sendable {
    let words: [UInt32]
    let scales: [Float]
    let zeros: [Float]
    let groups: [Int32]
}

/// The values that were asked for last: pieces of one tensor follow each other, so what all of them need is made once.
/// Thread-safe.
final class RecentValues<Value: Sendable>: Sendable {
    private let limit: Int
    private let kept = Mutex<[(key: String, value: Value)]>([])

    /// None; at most `limit` are kept.
    init(limit: Int) { self.limit = limit }

    /// The value of that key, made now unless it is at hand; others that ask wait for it.
    func value(_ key: String, make: () throws -> Value) rethrows -> Value {
        try kept.withLock { kept in
            if let place = kept.firstIndex(where: { $0.key == key }) {
                kept.append(kept.remove(at: place))
            } else {
                kept.append((key, try make()))
                if kept.count > limit { kept.removeFirst() }
            }
            return kept[kept.count - 1].value
        }
    }
}
