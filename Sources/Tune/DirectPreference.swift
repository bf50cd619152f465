import Base
import Foundation

/// `dpo_loss_type`: what a pair of answers costs, under TRL's names. δ is log(p / p_ref) of the answer that was chosen minus
/// that of the one that was rejected, p of all labels of an answer together, p_ref without the trained adapter.
public enum PreferenceLossType: String, Sendable, CaseIterable {
    /// −log σ(β·δ).
    case sigmoid
    /// max(0, 1 − β·δ) (SLiC, arXiv 2305.10425).
    case hinge
    /// (δ − 1 / 2β)², each answer's part of δ divided by its labels (arXiv 2310.12036).
    case ipo
    /// The sigmoid's loss without the bias of pairs of which a share is the wrong way round (arXiv 2403.00409).
    case robust
}

/// Direct preference optimisation (DPO, arXiv 2305.18290): what two answers to a prompt cost by how much likelier each has
/// become, in TRL's words.
struct DirectPreference: Sendable, Equatable {
    let loss: PreferenceLossType
    let beta: Double
    /// Share of pairs that are taken to be the wrong way round; only `robust` has one, below 0.5.
    let labelSmoothing: Double

    /// An answer: how much likelier it is than the frozen model has it, in nats, and its labels.
    struct Answer: Equatable {
        var logRatio: Double
        var labels: Int
    }

    /// What a pair costs, and the slopes of that along the log-probabilities of both answers.
    func cost(_ chosen: Answer, over rejected: Answer) -> (value: Double, chosen: Double, rejected: Double) {
        let delta = chosen.logRatio - rejected.logRatio
        /// σ(−x), and −log σ(x).
        func falling(_ x: Double) -> Double { 1 / (1 + exp(x)) }
        func penalty(_ x: Double) -> Double { max(-x, 0) + log1p(exp(-abs(x))) }
        switch loss {
        case .sigmoid:
            let slope = -beta * falling(beta * delta)
            return (penalty(beta * delta), slope, -slope)
        case .hinge:
            let slope = beta * delta < 1 ? -beta : 0
            return (max(0, 1 - beta * delta), slope, -slope)
        case .ipo:
            let (own, other) = (Double(chosen.labels), Double(rejected.labels))
            let excess = chosen.logRatio / own - rejected.logRatio / other - 1 / (2 * beta)
            return (excess * excess, 2 * excess / own, -2 * excess / other)
        case .robust:
            let (right, wrong) = (1 - labelSmoothing, labelSmoothing)
            let value = right * penalty(beta * delta) - wrong * penalty(-beta * delta)
            let slope = -beta * (right * falling(beta * delta) + wrong * falling(-beta * delta))
            return (value / (right - wrong), slope / (right - wrong), -slope / (right - wrong))
        }
    }
}

extension DirectPreference: Sent {
    init(from message: inout MessageReader) throws {
        let index = Int(try message.number(UInt8.self))
        guard PreferenceLossType.allCases.indices.contains(index) else {
            throw MeraserError.runtime("rank 0 sent a preference of kind \(index), which this rank does not know")
        }
        loss = PreferenceLossType.allCases[index]
        (beta, labelSmoothing) = (try message.number(), try message.number())
    }

    func write(to message: inout Message) {
        message.append(number: UInt8(PreferenceLossType.allCases.firstIndex(of: loss) ?? 0))
        message.append(number: beta)
        message.append(number: labelSmoothing)
    }
}

/// What a pair of answers came to: TRL's rewards, β · log(p / p_ref) of each.
struct AnswerRewards: Equatable {
    let chosen, rejected: Double
}
