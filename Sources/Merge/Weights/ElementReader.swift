import Base
import CKernels
import Quant

/// Reads stretches of a tensor's elements as fp32, from any thread.
///
/// Plain types and GGUF files come by `pread`, so that a merge of any size holds only the stretches it works on; MQF tiles
/// are read where they are mapped.
struct ElementReader: Sendable {
    private enum Source: Sendable {
        case view(TensorView)
        case gguf(GGUFTensor)
    }

    private let source: Source
    /// The tensor's name in its file.
    let name: String
    /// One dimension, or two: rows, columns.
    let shape: [Int]
    /// The type that its numbers count as: f32 for quantized ones.
    let type: TensorType
    /// True for numbers that a model file holds in blocks with scales.
    let isQuantized: Bool
    /// The file.
    let file: MappedFile

    /// A tensor of a safetensors or MQF file.
    init(_ view: TensorView) {
        source = .view(view)
        (name, shape, file) = (view.info.name, view.info.shape, view.file)
        isQuantized = view.info.type.isTiled
        type = isQuantized ? .f32 : view.info.type
    }

    /// A tensor of a GGUF file.
    init(_ tensor: GGUFTensor) {
        source = .gguf(tensor)
        (name, shape, file) = (tensor.name, tensor.shape, tensor.file)
        (isQuantized, type) = tensor.type.plain.map { (false, $0) } ?? (true, .f32)
    }

    /// Elements of the tensor.
    var count: Int { shape.reduce(1, *) }
    private var columns: Int { shape.last ?? 1 }

    /// Elements `range`, row-major, into `target`; `raw` is working memory of the caller.
    ///
    /// - Throws: `badInput` for a number that is not finite, naming row and column.
    func read(_ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>, raw: inout [UInt8]) throws {
        precondition(range.count == target.count && range.upperBound <= count, "elements \(range) of \(count)")
        switch source {
        case .view(let view) where !isQuantized: try readPlain(view, range, into: target, raw: &raw)
        case .view(let view):
            try readRows(range, into: target) { row, line in
                view.copy(row: row, of: view.info.rows, to: line)
            }
        case .gguf(let tensor):
            try readRows(range, into: target) { row, line in
                try tensor.read(rows: row..<row + 1, into: line, raw: &raw)
            }
        }
        let bad = Int(mk_find_nonfinite(target.baseAddress, Int64(target.count)))
        guard bad < 0 else {
            let index = range.lowerBound + bad
            throw MeraserError.badInput(
                "\(file.path): tensor '\(name)' has the value \(target[bad]) in row \(index / columns), column "
                    + "\(index % columns), expected finite weights")
        }
    }

    /// Takes what was read of mapped tiles out of the resident memory.
    func release() {
        if case .view = source, isQuantized { file.releasePages() }
    }

    private func readPlain(
        _ view: TensorView, _ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>, raw: inout [UInt8]
    ) throws {
        guard let size = type.elementByteCount else { preconditionFailure("\(type.name) is no plain type") }
        let (offset, count) = (view.info.offset + range.lowerBound * size, range.count * size)
        if raw.count < count { raw = [UInt8](repeating: 0, count: count) }
        try raw.withUnsafeMutableBytes { bytes in
            let part = UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
            try file.read(into: part, at: offset)
            var matrix = mk_matrix(
                type: Int32(type.rawValue), rows: 1, cols: Int64(range.count), data: UnsafeRawPointer(part.baseAddress))
            mk_dequantize(&matrix, 0, 1, target.baseAddress)
        }
        file.willNeed(at: offset + count, count: 4 * count)
    }

    /// The rows that `range` touches, one after the other.
    private func readRows(
        _ range: Range<Int>, into target: UnsafeMutableBufferPointer<Float>,
        _ row: (Int, UnsafeMutablePointer<Float>) throws -> Void
    ) throws {
        var line = [Float](repeating: 0, count: columns)
        var index = range.lowerBound
        while index < range.upperBound {
            let (number, column) = index.quotientAndRemainder(dividingBy: columns)
            let length = min(columns - column, range.upperBound - index)
            try line.withUnsafeMutableBufferPointer { line in
                guard let start = line.baseAddress else { return }
                try row(number, start)
                _ = UnsafeMutableBufferPointer(rebasing: target[(index - range.lowerBound)...]).update(
                    fromContentsOf: line[column..<column + length])
            }
            index += length
        }
    }
}

extension TensorView {
    fileprivate func copy(row: Int, of rows: Int, to line: UnsafeMutablePointer<Float>) {
        var matrix = mk_matrix(
            type: Int32(info.type.rawValue), rows: Int64(rows), cols: Int64(info.columns), data: baseAddress)
        mk_dequantize(&matrix, Int64(row), 1, line)
    }
}
