import Base
import CKernels
import Foundation
import Quant

/// Precision of the products with model weights. Each is exact about what it rounds, so that any two can be compared.
public enum Compute: String, Sendable, CaseIterable {
    /// Weights expanded to fp32, FMA: the reference of every test.
    case f32
    /// Activations and weights rounded to bf16, sums in fp32; applies to tiled and to bf16 weights, f32 and f16 stay in
    /// f32. In training both directions.
    case bf16
    /// Activations quantized to int8 per block of 32 columns; applies to tiled weights only. As the precision of a
    /// backward: gradients times the weights' scales, per token, 64 rows and 32 columns; for types without a minimum.
    case int8

    var code: Int32 {
        switch self {
        case .f32: Int32(MK_COMPUTE_F32)
        case .bf16: Int32(MK_COMPUTE_BF16)
        case .int8: Int32(MK_COMPUTE_INT8)
        }
    }
}

/// What every kernel runs on: one instruction set's table of micro-kernels and a number of threads.
///
/// Immutable; may be shared between threads (unchecked: the C table behind the pointer is a constant). Results do not depend on `threads`.
public struct KernelContext: @unchecked Sendable {
    let context: mk_context
    /// The other ranks of this job; nil: this process is alone, or none that hands out work.
    public let crew: Crew?
    private let pool: ThreadPool
    /// Which CPU this counts as; nil: nobody asked, so that results depend on the path alone.
    private let cpu: CPUIdentity?
    private let calibration: @Sendable () throws -> PrecisionCalibration?

    /// Threads that the drivers use, the caller's among them.
    public var threads: Int { Int(mk_pool_threads(context.pool)) }

    /// Name of the instruction set's path, for example `avx512`.
    public var isaName: String { String(cString: mk_isa_name(context.isa)) }

    /// Names of all the paths this build knows, portable first.
    public static var knownISANames: [String] {
        (Int32(0)...).lazy.map { mk_isa_known($0) }.prefix { $0 != nil }.compactMap { $0.map { String(cString: $0) } }
    }

    /// Those that this CPU has.
    public static var availableISANames: [String] { knownISANames.filter { mk_isa_find($0) != nil } }

    /// A context with `threads` threads (nil: the physical cores this process may use) on the path named `isa` (nil: the
    /// best that this CPU has).
    ///
    /// - Parameters:
    ///   - crew: ranks that take a part of the work; results do not depend on them.
    ///   - cpu: which CPU `trainingPrecision` is to choose for; nil: what the path has, so that results depend on the path
    ///     alone.
    ///   - calibration: reads what was measured on this machine; asked by `trainingPrecision` alone.
    /// - Throws: a usage error for a number of threads that `threadCount` refuses, or for a path that is unknown or that
    ///   this CPU lacks; an out-of-memory error if the threads cannot be started.
    public init(
        threads: Int? = nil, isa: String? = nil, crew: Crew? = nil, cpu: CPUIdentity? = nil,
        calibration: @escaping @Sendable () throws -> PrecisionCalibration? = { nil }
    ) throws {
        guard let table = mk_isa_find(isa) else {
            throw MeraserError.usage(
                "MERASER_ISA=\(isa ?? ""): this CPU or build does not have it; available here: "
                    + Self.availableISANames.joined(separator: " "))
        }
        pool = try ThreadPool(threads: threadCount(threads))
        context = mk_context(isa: table, pool: pool.pool)
        self.crew = crew
        (self.cpu, self.calibration) = (cpu, calibration)
    }

    /// A context as the user asked for it: `threads` from the command line, the path from the environment variable
    /// `MERASER_ISA` if it is set, training's precision by what this CPU is known to do fast.
    ///
    /// - Throws: as `init`.
    public static func fromEnvironment(threads: Int? = nil, crew: Crew? = nil) throws -> KernelContext {
        let name = ProcessInfo.processInfo.environment["MERASER_ISA"].flatMap { $0.isEmpty ? nil : $0 }
        return try KernelContext(threads: threads, isa: name, crew: crew, cpu: .current) {
            try PrecisionCalibration(in: ModelCache())
        }
    }

    /// What training computes in unless somebody chooses, and its backward beside an int8 forward.
    ///
    /// - Throws: `badInput` for a broken file of what was measured here.
    public func trainingPrecision() throws -> TrainingPrecision {
        guard supports(.bf16) else { return TrainingPrecision(.f32, .path) }
        return try cpu.map { TrainingPrecision(on: $0, calibration: try calibration()) }
            ?? TrainingPrecision(.bf16, .path)
    }

    /// The precision of a backward where the forward has that one and nobody chose: beside int8 the path's, or what the
    /// table says of the CPU. A training asks `trainingPrecision` too, which knows what was measured.
    public func backwardCompute(for forward: Compute) -> Compute {
        guard forward == .int8 else { return forward }
        guard supports(.bf16) else { return .f32 }
        return cpu.map { TrainingPrecision(on: $0, calibration: nil).compute } ?? .bf16
    }

    /// True if this path implements that precision.
    public func supports(_ compute: Compute) -> Bool { mk_compute_available(context.isa, compute.code) }

    /// The precision of inference where nobody chose one: int8 for a model with quantized weights, f32 for plain ones
    /// and on the portable path, whose int8 products are slower than its fp32.
    public func inferenceCompute(quantized: Bool) -> Compute {
        quantized && isaName != Self.knownISANames.first ? .int8 : .f32
    }

    /// - Throws: a usage error if this path lacks that precision, naming those that it has.
    public func require(_ compute: Compute) throws {
        guard supports(compute) else {
            let names = Compute.allCases.filter(supports).map(\.rawValue).joined(separator: " ")
            throw MeraserError.usage(
                "`compute` \(compute.rawValue): not available on the \(isaName) path; available: \(names)")
        }
    }

    /// Runs `body` with the C context.
    func run<R>(_ body: (UnsafePointer<mk_context>) -> R) -> R {
        withUnsafePointer(to: context, body)
    }
}
