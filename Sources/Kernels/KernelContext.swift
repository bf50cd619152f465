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
    /// Activations quantized to int8 per block of 32 columns; applies to tiled weights only. In training the forward;
    /// the backward is the faster of bf16 and f32 (`TrainingPrecision`).
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
    /// What training computes in unless somebody chooses; its precision is the backward's beside an int8 forward, too.
    public let training: TrainingPrecision
    /// The other ranks of this job; nil: this process is alone, or none that hands out work.
    public let crew: Crew?

    /// OpenMP threads that the drivers use.
    public var threads: Int { Int(context.threads) }

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
    ///   - training: asked where the path has bf16; training computes in bf16 there unless it says otherwise, so
    ///     that results depend on the path alone.
    /// - Throws: a usage error for a number of threads that `threadCount` refuses, or for a path that is unknown or that
    ///   this CPU lacks; an out-of-memory error if the threads cannot be started.
    public init(
        threads: Int? = nil, isa: String? = nil, crew: Crew? = nil,
        training: () throws -> TrainingPrecision = { TrainingPrecision(.bf16, .path) }
    ) throws {
        guard let table = mk_isa_find(isa) else {
            throw MeraserError.usage(
                "MERASER_ISA=\(isa ?? ""): this CPU or build does not have it; available here: "
                    + Self.availableISANames.joined(separator: " "))
        }
        context = mk_context(isa: table, threads: Int32(try startedThreadCount(threads)))
        self.crew = crew
        self.training =
            mk_compute_available(table, Compute.bf16.code) ? try training() : TrainingPrecision(.f32, .path)
    }

    /// A context as the user asked for it: `threads` from the command line, the path from the environment variable
    /// `MERASER_ISA` if it is set, training's precision by what this CPU is known to do fast.
    ///
    /// - Throws: as `init`; `badInput` for a broken file of what was measured here.
    public static func fromEnvironment(threads: Int? = nil, crew: Crew? = nil) throws -> KernelContext {
        let name = ProcessInfo.processInfo.environment["MERASER_ISA"].flatMap { $0.isEmpty ? nil : $0 }
        return try KernelContext(threads: threads, isa: name, crew: crew) {
            TrainingPrecision(on: .current, calibration: try PrecisionCalibration(in: ModelCache()))
        }
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
