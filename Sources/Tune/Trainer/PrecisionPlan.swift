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

    /// - Parameters:
    ///   - asked: what somebody chose; nil: nobody did.
    ///   - model: as the run computes.
    init(asked: Compute?, model: Transformer) {
        let training = model.kernels.training
        (forward, backward) = (model.compute, model.kernels.backwardCompute(for: model.compute))
        // Of an asked int8 the backward is still chosen.
        reason = asked == nil || forward != backward ? training.reason : "as asked"
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
}
