import Base
import Kernels
import Model

/// What a run computes the products with the frozen weights in, and why.
public struct PrecisionPlan: Sendable, Equatable {
    /// Of the forward.
    public let forward: Compute
    /// Of the backward.
    public let backward: Compute
    /// Who chose it.
    public let reason: String

    /// The plan for a choice, and for none.
    ///
    /// - Parameters:
    ///   - compute: what somebody chose; nil: nobody did.
    ///   - backward: the same of the backward.
    /// - Throws: `badInput` for a broken file of what was measured here, which is read only where nobody chose.
    public init(_ compute: Compute?, backward: Compute? = nil, on kernels: KernelContext) throws {
        if let compute, let backward = backward ?? (compute == .int8 ? nil : compute) {
            (self.forward, self.backward, reason) = (compute, backward, "as asked")
            return
        }
        let training = try kernels.trainingPrecision()
        (forward, self.backward) = (compute ?? training.compute, backward ?? training.compute)
        reason = training.reason
    }

    /// `bf16: the faster on …`.
    var line: String {
        (forward == backward ? forward.rawValue : "\(forward.rawValue), backward \(backward.rawValue)") + ": \(reason)"
    }

    /// `{"compute", "backward", "compute_reason"}`.
    var fields: [(key: String, value: JSONValue)] {
        [
            ("compute", .text(forward.rawValue)), ("backward", .text(backward.rawValue)),
            ("compute_reason", .text(reason)),
        ]
    }

    /// A model that computes so, with the same weights.
    ///
    /// - Throws: a usage error for a precision this CPU lacks.
    public func model(_ model: Transformer) throws -> Transformer {
        forward == model.compute && backward == model.backward
            ? model : try model.with(compute: forward, backward: backward)
    }

    /// The options as the record of the run is to say them.
    func chosen(in options: TrainingOptions) -> TrainingOptions {
        var options = options
        (options.compute, options.backward) = (forward, backward)
        return options
    }
}
