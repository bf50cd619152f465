import CKernels
import Foundation
import Synchronization
import Testing

/// Half an ulp of 1: what one fp32 operation may be off by, relatively.
let epsilon = 0x1p-24

/// One instruction set of the kernels that this CPU has.
struct InstructionSet: Sendable, CustomTestStringConvertible {
    let name: String

    /// Every path of this build that the CPU can run.
    static let available: [InstructionSet] = known.filter { mk_isa_find($0) != nil }.map { InstructionSet(name: $0) }

    /// The names of all paths of this build.
    static var known: [String] {
        var names: [String] = []
        while let name = mk_isa_known(Int32(names.count)) { names.append(String(cString: name)) }
        return names
    }

    var testDescription: String { name }

    /// The precisions of this path.
    var computes: [Int32] {
        [MK_COMPUTE_F32, MK_COMPUTE_BF16, MK_COMPUTE_INT8].map(Int32.init)
            .filter { mk_compute_available(mk_isa_find(name), $0) }
    }

    func context(threads: Int32 = 1) -> mk_context { mk_context(isa: mk_isa_find(name), pool: threadPool(threads)) }
}

/// A pool of so many threads, which ends with the tests.
func threadPool(_ threads: Int32) -> OpaquePointer? {
    pools.withLock { pools in
        if let pool = pools[threads] { return pool.pointer }
        let pool = SharedPool(pointer: mk_pool_start(threads))
        pools[threads] = pool
        return pool.pointer
    }
}

private struct SharedPool: @unchecked Sendable {
    let pointer: OpaquePointer?
}

private let pools = Mutex<[Int32: SharedPool]>([:])

/// A buffer between two stretches of NaNs: reading past its ends poisons the result, writing there is found by `isIntact`.
final class Guarded {
    private static let margin = 96
    private static let poison: UInt32 = 0x7fc0_dead
    private let storage: UnsafeMutablePointer<Float>
    let count: Int

    init(_ values: [Float]) {
        count = values.count
        storage = .allocate(capacity: count + 2 * Self.margin)
        for i in 0..<(count + 2 * Self.margin) { storage[i] = Float(bitPattern: Self.poison) }
        for i in 0..<count { storage[Self.margin + i] = values[i] }
    }

    /// `count` NaNs: an output of which every element must be written, or none.
    convenience init(poisoned count: Int) {
        self.init([Float](repeating: Float(bitPattern: Self.poison), count: count))
    }

    /// `rows` rows of `columns` values at distance `stride`, NaNs in the gaps.
    convenience init(_ values: [Float], columns: Int, stride: Int) {
        let rows = values.count / columns
        var padded = [Float](repeating: Float(bitPattern: Self.poison), count: rows * stride)
        for row in 0..<rows {
            for column in 0..<columns { padded[row * stride + column] = values[row * columns + column] }
        }
        self.init(padded)
    }

    deinit { storage.deallocate() }

    var pointer: UnsafeMutablePointer<Float> { storage + Self.margin }

    var values: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }

    /// Rows of `columns` values that lie `stride` apart.
    func rows(columns: Int, stride: Int) -> [Float] {
        let all = values
        return stride == 0 ? [] : (0..<(all.count / stride)).flatMap { all[($0 * stride)..<($0 * stride + columns)] }
    }

    /// True if nothing was written outside the buffer.
    var isIntact: Bool {
        (0..<Self.margin).allSatisfy {
            storage[$0].bitPattern == Self.poison && storage[Self.margin + count + $0].bitPattern == Self.poison
        }
    }

    /// True if nothing was written to those elements of a poisoned buffer.
    func isPoisoned(_ range: Range<Int>) -> Bool {
        range.allSatisfy { pointer[$0].bitPattern == Self.poison }
    }

    /// True if the gaps between rows of `columns` values at distance `stride` were left alone.
    func gapsAreIntact(columns: Int, stride: Int) -> Bool {
        (0..<count).allSatisfy { $0 % stride < columns || pointer[$0].bitPattern == Self.poison }
    }
}

/// The weight types of the kernels.
enum WeightType: Int32, CaseIterable, Sendable {
    case f32 = 0
    case f16 = 1
    case q40 = 2
    case q41 = 3
    case q80 = 8
    case q4k = 12
    case q5k = 13
    case q6k = 14
    case iq4nl = 20
    case bf16 = 30
    case nf4 = 1001

    var isTiled: Bool { mk_type_is_tiled(rawValue) }

    /// So many columns, or more where the type's tiles are wider.
    func wholeTiles(_ columns: Int) -> Int {
        let width = max(Int(mk_tile_columns(rawValue)), 1)
        return (columns + width - 1) / width * width
    }

    /// Bytes that a tile begins with before its codes.
    var headBytes: Int {
        switch self {
        case .q41: 64
        case .q4k, .q5k, .q6k: 320
        default: 32
        }
    }

    /// How many of these bytes are fp16 numbers.
    var halfBytes: Int { [.q41, .q4k, .q5k].contains(self) ? 64 : 32 }
}

/// A quantized weight with the values that it stands for.
final class Weight {
    let type: WeightType
    let rows: Int
    let columns: Int
    /// What the stored weights are, from mk_dequantize (tested on its own against the format).
    let values: [Double]
    private let bytes: UnsafeMutableRawBufferPointer

    init(_ type: WeightType, rows: Int, columns: Int, source: [Float]) {
        self.type = type
        self.rows = rows
        self.columns = columns
        let count = mk_matrix_bytes(type.rawValue, Int64(rows), Int64(columns))
        bytes = .allocate(byteCount: count, alignment: 64)
        mk_quantize(type.rawValue, source, Int64(rows), Int64(columns), bytes.baseAddress)
        var decoded = [Float](repeating: 0, count: rows * columns)
        var matrix = mk_matrix(
            type: type.rawValue, rows: Int64(rows), cols: Int64(columns), data: UnsafeRawPointer(bytes.baseAddress))
        mk_dequantize(&matrix, 0, Int64(rows), &decoded)
        values = decoded.map(Double.init)
    }

    deinit { bytes.deallocate() }

    var matrix: mk_matrix {
        mk_matrix(
            type: type.rawValue, rows: Int64(rows), cols: Int64(columns), data: UnsafeRawPointer(bytes.baseAddress))
    }

    /// The stored bytes, to be changed by tests of hostile files.
    var storage: UnsafeMutableRawBufferPointer { bytes }
}

/// A value and the sum of the magnitudes it was added up from: rounding errors are proportional to the latter.
struct Sum: Sendable {
    var value = 0.0
    var magnitude = 0.0

    mutating func add(_ term: Double) {
        value += term
        magnitude += abs(term)
    }
}

/// Expects every element to be within `operations` roundings of its sum.
func expectClose(
    _ got: [Float], _ want: [Sum], operations: Int, _ what: String, sourceLocation: SourceLocation = #_sourceLocation
) {
    guard got.count == want.count else {
        Issue.record("\(what): \(got.count) values, want \(want.count)", sourceLocation: sourceLocation)
        return
    }
    for i in got.indices {
        let allowed = Double(operations) * epsilon * want[i].magnitude + 1e-37
        guard abs(Double(got[i]) - want[i].value) <= allowed else {
            Issue.record(
                "\(what): element \(i) is \(got[i]), want \(want[i].value) within \(allowed)",
                sourceLocation: sourceLocation)
            return
        }
    }
}

/// Expects the same bits.
func expectIdentical(
    _ got: [Float], _ want: [Float], _ what: String, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(got.map(\.bitPattern) == want.map(\.bitPattern), "\(what): bits differ", sourceLocation: sourceLocation)
}
