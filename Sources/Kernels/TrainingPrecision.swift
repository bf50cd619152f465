/// What training computes in unless somebody chooses, by what a CPU does with it: that it has an instruction does not say
/// that the instruction is fast.
public struct TrainingPrecision: Sendable, Equatable {
    /// Where a choice comes from.
    public enum Source: Sendable, Equatable {
        /// The path has nothing else, or nobody asked which CPU this is.
        case path
        /// `CPUTable`.
        case table(CPUIdentity)
        /// It was measured on this machine.
        case calibration(CPUIdentity)
        /// The CPU is in no table and was not measured: f32, which is never slow.
        case unknown(CPUIdentity)
    }

    /// Of both directions: f32 or bf16.
    public let compute: Compute
    /// Where it comes from.
    public let source: Source

    /// - Parameter compute: f32 or bf16. int8's gradients are noisier, so nobody gets them without asking.
    public init(_ compute: Compute, _ source: Source) {
        precondition(compute != .int8, "nobody gets int8 without asking")
        (self.compute, self.source) = (compute, source)
    }

    /// The choice for a CPU on a path that has bf16: what was measured here, else the table's, else f32.
    ///
    /// - Parameter calibration: what was measured on this machine, if anything was.
    public init(on cpu: CPUIdentity, calibration: PrecisionCalibration?) {
        if let calibration, calibration.cpu == cpu {
            self.init(calibration.fastest, .calibration(cpu))
        } else if let compute = CPUTable.training[cpu] {
            self.init(compute, .table(cpu))
        } else {
            self.init(.f32, .unknown(cpu))
        }
    }

    /// Why it is that, for a plan.
    public var reason: String {
        switch source {
        case .path: "what this path has"
        case .table(let cpu): "the faster on \(cpu), by the table of CPUs"
        case .calibration(let cpu): "the faster on \(cpu), as measured here"
        case .unknown(let cpu): "\(cpu) was not measured; `bench` with `calibrate` finds out whether bf16 is faster"
        }
    }
}

/// What was measured to be the faster, by CPU. A row is made by `meraser bench --calibrate` on a quiet machine.
enum CPUTable {
    static let training: [CPUIdentity: Compute] = [
        // Zen 4 (EPYC Genoa), 2 cores, LoRA step of 512 tokens, SmolLM2-135M: f32 245.6 tok/s, bf16 403.6.
        CPUIdentity(vendor: "AuthenticAMD", family: 25, model: 17): .bf16,
        // Emerald Rapids, 2 cores, the same step, 1.1B: f32 66.7 tok/s, bf16 39.2: vdpbf16ps is slower than FMA there.
        CPUIdentity(vendor: "GenuineIntel", family: 6, model: 207): .f32,
    ]
}
