import Foundation

/// A view of row-major fp32 numbers, `rows` × `columns` with `stride` floats from row to row.
///
/// It keeps the memory alive that it shows, a `FloatStorage` or an `Arena`; its pointer never leaves this module but in a
/// closure, so that none outlives the memory. Copies alias the same numbers. Not safe to write from several threads at once.
public struct FloatMatrix {
    /// The first number; valid while this matrix lives.
    let base: UnsafeMutablePointer<Float>
    private let owner: AnyObject
    /// Rows (tokens, output features).
    public let rows: Int
    /// Columns (features).
    public let columns: Int
    /// Floats from one row to the next; equal to `columns` unless this is a slice of columns.
    public let stride: Int

    /// A view of memory of `owner` that holds at least `(rows - 1) * stride + columns` floats.
    init(owner: AnyObject, base: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int? = nil) {
        self.owner = owner
        self.base = base
        self.rows = rows
        self.columns = columns
        self.stride = stride ?? columns
    }

    /// The number of elements.
    public var count: Int { rows * columns }
    /// True if the rows follow each other without gaps.
    public var isContiguous: Bool { stride == columns || rows <= 1 }

    /// The first `count` rows.
    public func prefix(rows count: Int) -> FloatMatrix { slice(rows: 0..<count) }

    /// The rows of that range.
    public func slice(rows range: Range<Int>) -> FloatMatrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return FloatMatrix(
            owner: owner, base: base + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
    }

    /// A contiguous view with another shape of the same count or fewer elements.
    public func reshaped(rows: Int, columns: Int) -> FloatMatrix {
        precondition(isContiguous && rows * columns <= count, "\(rows)x\(columns) from \(self.rows)x\(self.columns)")
        return part(at: 0, rows: rows, columns: columns)
    }

    /// A contiguous view of the elements from number `start` on, row by row. The rows must follow each other without gaps.
    public func part(at start: Int, rows: Int, columns: Int) -> FloatMatrix {
        precondition(
            isContiguous && start >= 0 && start + rows * columns <= count,
            "\(rows)x\(columns) at \(start) of \(self.rows)x\(self.columns)")
        return FloatMatrix(owner: owner, base: base + start, rows: rows, columns: columns)
    }

    /// That row `times` times: rows at distance 0, to be read only.
    public func repeating(row index: Int, times: Int) -> FloatMatrix {
        FloatMatrix(owner: owner, base: row(index), rows: times, columns: columns, stride: 0)
    }

    /// True if both show memory that begins at the same place.
    public func beginsWhere(_ other: FloatMatrix) -> Bool { base == other.base }

    /// One number.
    public subscript(row: Int, column: Int) -> Float {
        get {
            precondition(column >= 0 && column < columns, "column \(column) of \(columns)")
            return self.row(row)[column]
        }
        nonmutating set {
            precondition(column >= 0 && column < columns, "column \(column) of \(columns)")
            self.row(row)[column] = newValue
        }
    }

    /// Lends the numbers of a row, which must not be kept beyond `body`.
    public func withRow<R>(_ index: Int, _ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
        try withExtendedLifetime(owner) { try body(UnsafeBufferPointer(start: row(index), count: columns)) }
    }

    /// Lends all numbers, row by row without gaps, which must not be kept beyond `body`.
    public func withNumbers<R>(_ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
        precondition(isContiguous, "\(rows)x\(columns) at distance \(stride)")
        return try withExtendedLifetime(owner) { try body(UnsafeBufferPointer(start: base, count: count)) }
    }

    /// Lends the same numbers to be written.
    public func withMutableNumbers<R>(_ body: (UnsafeMutableBufferPointer<Float>) throws -> R) rethrows -> R {
        precondition(isContiguous, "\(rows)x\(columns) at distance \(stride)")
        return try withExtendedLifetime(owner) { try body(UnsafeMutableBufferPointer(start: base, count: count)) }
    }

    private func row(_ index: Int) -> UnsafeMutablePointer<Float> {
        precondition(index >= 0 && index < rows, "row \(index) of \(rows)")
        return base + index * stride
    }

    /// Sets every element.
    public func fill(_ value: Float) {
        for r in 0..<rows { row(r).update(repeating: value, count: columns) }
    }

    /// Copies the elements of a matrix of the same shape.
    public func copy(from other: FloatMatrix) {
        precondition(
            rows == other.rows && columns == other.columns, "copy \(other.rows)x\(other.columns) to \(rows)x\(columns)")
        if isContiguous && other.isContiguous {
            base.update(from: other.base, count: count)
        } else {
            for r in 0..<rows { (base + r * stride).update(from: other.base + r * other.stride, count: columns) }
        }
    }

    /// Copies as many numbers as there are elements, row by row. The rows must follow each other without gaps.
    public func copy(from values: [Float]) {
        precondition(isContiguous && values.count == count, "\(values.count) numbers for \(rows)x\(columns)")
        values.withUnsafeBufferPointer { source in
            if let start = source.baseAddress { base.update(from: start, count: source.count) }
        }
    }

    /// The elements, row by row.
    public func toArray() -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(count)
        for r in 0..<rows { withRow(r) { result.append(contentsOf: $0) } }
        return result
    }
}

/// Owner of an aligned block of floats, zero at first; freed with the last reference to it or to a matrix in it.
///
/// Not safe to write from several threads at once.
public final class FloatStorage {
    private let base: UnsafeMutablePointer<Float>
    private let rows: Int
    private let columns: Int

    /// The whole block as one matrix.
    public var matrix: FloatMatrix { FloatMatrix(owner: self, base: base, rows: rows, columns: columns) }

    /// Its bytes, for who sends them to another rank and keeps this block alive meanwhile.
    public var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: base, count: rows * columns * MemoryLayout<Float>.stride)
    }

    /// A block of `rows` × `columns` zeros, aligned to 64 bytes.
    public init(rows: Int, columns: Int) {
        precondition(rows >= 0 && columns >= 0)
        let count = max(rows * columns, 1)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: count * MemoryLayout<Float>.stride, alignment: 64)
        base = memory.bindMemory(to: Float.self, capacity: count)
        base.initialize(repeating: 0, count: count)
        self.rows = rows
        self.columns = columns
    }

    /// A block that holds a copy of these numbers.
    public convenience init(_ values: [Float], rows: Int, columns: Int) {
        precondition(values.count == rows * columns, "\(values.count) values for \(rows)x\(columns)")
        self.init(rows: rows, columns: columns)
        values.withUnsafeBufferPointer { source in
            if let start = source.baseAddress { base.update(from: start, count: source.count) }
        }
    }

    deinit { base.deallocate() }
}

/// A block of floats that hands out matrices one after the other, so that a run allocates once.
///
/// `reset(to:)` gives memory back in the reverse order. Not thread-safe.
public final class Arena {
    private let base: UnsafeMutablePointer<Float>
    private let isMeasuring: Bool
    /// Floats in all.
    public let capacity: Int
    /// Floats handed out.
    public private(set) var used = 0
    /// The most floats that were handed out at a time.
    public private(set) var peak = 0

    /// An arena of `capacity` floats. The pages cost memory only once they are used.
    public init(capacity: Int) {
        precondition(capacity >= 0)
        self.capacity = capacity
        isMeasuring = false
        let bytes = max(capacity, 1) * MemoryLayout<Float>.stride
        // Nothing is written: a page costs memory only once somebody uses it.
        let isLarge = bytes >= 8 * Self.hugePage
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: isLarge ? Self.hugePage : 64)
        base = memory.bindMemory(to: Float.self, capacity: max(capacity, 1))
        #if os(Linux)
            if isLarge { madvise(memory, bytes, MADV_HUGEPAGE) }
        #endif
    }

    private static let hugePage = 2 << 20

    /// An arena without memory, which tells by its `peak` what capacity an arena must have: it hands out matrices that
    /// must not be touched.
    public static func measuring() -> Arena { Arena() }

    private init() {
        capacity = Int.max / MemoryLayout<Float>.stride
        isMeasuring = true
        base = .allocate(capacity: 1)
    }

    deinit { base.deallocate() }

    /// Floats that `matrix(rows:columns:)` takes for that shape: the count rounded up to a cache line.
    public static func footprint(rows: Int, columns: Int) -> Int { (rows * columns + 15) / 16 * 16 }

    /// A matrix of undefined contents. Asking for more than the arena holds is the caller's error.
    public func matrix(rows: Int, columns: Int) -> FloatMatrix {
        let size = Self.footprint(rows: rows, columns: columns)
        precondition(size <= capacity - used, "arena of \(capacity) floats: \(used) used, \(size) more asked for")
        defer {
            used += size
            peak = max(peak, used)
        }
        return FloatMatrix(owner: self, base: isMeasuring ? base : base + used, rows: rows, columns: columns)
    }

    /// Takes back everything that was handed out since `used` had that value.
    public func reset(to mark: Int = 0) {
        precondition(mark <= used)
        used = mark
    }
}
