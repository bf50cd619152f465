import Base
import CKernels
import Foundation

/// What a machine can do at most with some number of threads on one path, measured.
public struct MachinePeak: Sendable, Equatable {
    /// Multiplications and additions a second of bytes into 32 bits; nil if the path has no instruction for it.
    public var int8: Double?
    /// The same of bf16 pairs into fp32.
    public var bf16: Double?
    /// The same of fp32.
    public var f32: Double?
    /// Bytes a second that are read from memory.
    public var readBytes: Double

    /// Those figures.
    public init(int8: Double? = nil, bf16: Double? = nil, f32: Double? = nil, readBytes: Double) {
        self.int8 = int8
        self.bf16 = bf16
        self.f32 = f32
        self.readBytes = readBytes
    }

    /// Operations a second of that precision.
    public func operations(_ compute: Compute) -> Double? {
        switch compute {
        case .f32: f32
        case .bf16: bf16
        case .int8: int8
        }
    }

    /// The larger of each figure: a disturbed measurement can only be too low.
    public func maximum(_ other: MachinePeak) -> MachinePeak {
        func larger(_ a: Double?, _ b: Double?) -> Double? {
            guard let a, let b else { return a ?? b }
            return max(a, b)
        }
        return MachinePeak(
            int8: larger(int8, other.int8), bf16: larger(bf16, other.bf16), f32: larger(f32, other.f32),
            readBytes: max(readBytes, other.readBytes))
    }
}

extension KernelContext {
    /// Measures the peaks of this path with this number of threads; takes about a second and, for as long,
    /// `readByteCount` bytes of memory, which should be several times what the caches hold.
    public func measurePeak(readByteCount: Int = 256 << 20) -> MachinePeak {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: readByteCount, alignment: 4096)
        defer { memory.deallocate() }
        // Fresh pages are all the same page of zeros: write to make them memory.
        memory.initializeMemory(as: UInt8.self, repeating: 1)
        let bytes = best { () -> Double in
            let sum = run { mk_peak_read($0, memory.baseAddress, memory.count) }
            precondition(sum > 0)
            return Double(readByteCount)
        }
        return MachinePeak(int8: peak(.int8), bf16: peak(.bf16), f32: peak(.f32), readBytes: bytes)
    }

    private func peak(_ compute: Compute) -> Double? {
        // About 20 ms on a core of 4 GHz.
        let rate = best { run { mk_peak_operations($0, compute.code, 4_000_000) } }
        return rate > 0 ? rate : nil
    }

    /// The best rate of several attempts; `work` returns how much it did.
    private func best(_ work: () -> Double) -> Double {
        let clock = ContinuousClock()
        return (0..<6).reduce(0.0) { best, _ in
            let start = clock.now
            let amount = work()
            let elapsed = (clock.now - start).components
            return max(best, amount / (Double(elapsed.seconds) + Double(elapsed.attoseconds) / 1e18))
        }
    }
}
