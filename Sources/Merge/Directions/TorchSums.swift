import CKernels
import Quant

/// The norm of a tensor that is read in pieces, as torch.linalg.vector_norm adds it up on one thread.
struct TorchNorm {
    private var sum = mk_norm_sum()
    private var rest: [Float] = []

    /// Adds a piece; all but the last have a multiple of 8 numbers.
    mutating func add(_ x: UnsafeMutableBufferPointer<Float>) {
        precondition(rest.isEmpty, "a piece behind one that is not whole")
        let whole = x.count - x.count % 8
        mk_norm_add(&sum, x.baseAddress, Int64(whole))
        rest = Array(x[whole...])
    }

    /// The square root of the sum of squares.
    var value: Float {
        withUnsafePointer(to: sum) { mk_norm_finish($0, rest, Int64(rest.count)) }
    }
}

/// The sum of a tensor that is read in pieces, as torch.sum adds it up on one thread.
struct TorchSum {
    private var sum = mk_cascade()
    private var rest: [Float] = []
    private let pairs: Bool
    private let rowElements: Int

    /// A sum of that many numbers of that type.
    init(count: Int, type: TensorType) {
        pairs = type != .f32
        rowElements = Int(MK_CASCADE_WIDTH) * (pairs ? 2 : 1)
        sum.power = mk_cascade_power(Int64(count), pairs)
    }

    /// Adds a piece; all but the last have a multiple of 64 numbers.
    mutating func add(_ x: UnsafeMutableBufferPointer<Float>) {
        precondition(rest.isEmpty, "a piece behind one that is not whole")
        let rows = x.count / rowElements
        mk_cascade_add(&sum, x.baseAddress, Int64(rows), pairs)
        rest = Array(x[(rows * rowElements)...])
    }

    /// The sum.
    var value: Float {
        withUnsafePointer(to: sum) { mk_cascade_finish($0, rest, Int64(rest.count), pairs) }
    }
}

extension Float {
    /// Rounded to nearest even to what the type holds.
    func rounded(to type: TensorType) -> Float {
        var result = self
        mk_merge_round(Int32(type.rawValue), &result, 1)
        return result
    }
}

extension InputMemory {
    /// The first numbers of a buffer.
    func first(_ count: Int, of buffer: Int) -> UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(rebasing: inputs[buffer][..<count])
    }

    /// The beginnings of some buffers.
    func pointers(_ buffers: [Int]) -> [UnsafePointer<Float>?] { buffers.map { UnsafePointer(inputs[$0].baseAddress) } }
}
