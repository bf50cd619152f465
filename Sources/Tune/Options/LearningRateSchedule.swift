import Base
import Foundation

/// The learning rate over a run, as transformers' schedules of the same names compute it.
public struct LearningRateSchedule: Sendable, Equatable {
    /// `lr_scheduler_type`. All but the first and the last begin with a warm-up.
    public enum Kind: String, Sendable, CaseIterable {
        /// The peak rate throughout.
        case constant
        /// The peak rate.
        case constantWithWarmup = "constant_with_warmup"
        /// Linearly down to 0 at the end.
        case linear
        /// Half a cosine down to 0 at the end.
        case cosine
        /// Several halves of a cosine, each down to 0 from the peak.
        case cosineWithRestarts = "cosine_with_restarts"
        /// Down to a last rate with a power of what is left.
        case polynomial
        /// One through the root of the steps.
        case inverseSqrt = "inverse_sqrt"
        /// Half a cosine down to a least rate.
        case cosineWithMinLR = "cosine_with_min_lr"
        /// The same, whose warm-up may begin above 0 and counts its first step.
        case cosineWarmupWithMinLR = "cosine_warmup_with_min_lr"
        /// A warm-up, the peak rate, a decay.
        case warmupStableDecay = "warmup_stable_decay"
        /// Down by a factor whenever the loss on `eval_data` falls no more.
        case reduceOnPlateau = "reduce_lr_on_plateau"
    }

    /// Which one.
    public let kind: Kind
    /// The peak rate.
    public let peak: Double
    /// Steps of warm-up.
    public let warmupSteps: Int
    /// Steps of the run.
    public let totalSteps: Int
    private let curve: LearningRateCurve

    /// A schedule.
    ///
    /// - Parameter settings: `lr_scheduler_kwargs`, in transformers' words.
    /// - Throws: a usage error for a setting that the schedule does not have, or lacks, or whose value does not fit.
    public init(
        kind: Kind, peak: Double, warmupSteps: Int, totalSteps: Int, settings: JSONObject = JSONObject()
    ) throws {
        self.kind = kind
        self.peak = peak
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
        curve = try LearningRateCurve(kind, settings: settings, peak: peak)
    }

    /// The schedule of a run with those options. A warm-up that is not given in steps takes ceil(ratio · steps), as Trainer's.
    ///
    /// - Throws: as the other one.
    public init(options: TrainingOptions, totalSteps: Int) throws {
        try self.init(
            kind: options.schedule, peak: options.learningRate,
            warmupSteps: options.warmupSteps ?? Int((options.warmupRatio * Double(totalSteps)).rounded(.up)),
            totalSteps: totalSteps, settings: options.scheduleSettings)
    }

    /// What lowers the rate of `reduce_lr_on_plateau`; nil: the steps alone say it.
    var plateau: PlateauRule? {
        if case .plateau(let rule) = curve { rule } else { nil }
    }

    /// The rate of a step, counted from 0: the first step of a warm-up has rate 0 with most schedules. With
    /// `reduce_lr_on_plateau` it is the rate before anything was measured.
    public func rate(step: Int) -> Double {
        peak * curve.factor(step: step, warmup: warmupSteps, total: totalSteps)
    }
}

/// What a schedule is of its peak rate at a step, with the settings that it has.
enum LearningRateCurve: Sendable, Equatable {
    /// How a rate goes from one end to the other.
    enum Slope: String, CaseIterable {
        case linear
        case cosine
        case oneMinusRoot = "1-sqrt"
    }

    case constant
    case plateau(PlateauRule)
    case constantWithWarmup
    case linear
    case cosine(cycles: Double, floor: Double)
    case restarts(cycles: Double)
    case polynomial(end: Double, power: Double)
    case inverseSqrt
    case countedCosine(cycles: Double, floor: Double, start: Double?)
    case stable(steps: Int?, decay: Int, rise: Slope, fall: Slope, floor: Double, cycles: Double)

    /// The share of the peak rate at a step from 0. The formulas are those of transformers/optimization.py.
    func factor(step: Int, warmup: Int, total: Int) -> Double {
        switch self {
        case .constant, .plateau: return 1
        default: break
        }
        if step < warmup { return rise(step, warmup) }
        let span = Double(max(1, total - warmup))
        let behind = Double(step - warmup)
        switch self {
        case .constant, .plateau, .constantWithWarmup: return 1
        case .linear: return max(0, Double(total - step) / span)
        case .cosine(let cycles, let floor):
            let wave = 0.5 * (1 + cos(.pi * (2 * cycles) * behind / span))
            return max(0, floor == 0 ? wave : wave * (1 - floor) + floor)
        case .restarts(let cycles):
            if behind >= span { return 0 }
            return max(0, 0.5 * (1 + cos(.pi * (cycles * (behind / span)).truncatingRemainder(dividingBy: 1))))
        case .polynomial(let end, let power):
            return (1 - end) * pow(max(0, 1 - behind / span), power) + end
        case .inverseSqrt:
            let scale = Double(warmup > 0 ? warmup : 10_000)
            return 1 / ((Double(step) + scale - Double(warmup)) / scale).squareRoot()
        case .countedCosine(let cycles, let floor, _):
            let wave = 0.5 * (1 + cos(.pi * cycles * 2 * ((behind + 1) / span)))
            return max(0, wave * (1 - floor) + floor)
        case .stable(let steps, let decay, _, let slope, let floor, let cycles):
            let stable = Double(steps ?? total - warmup - decay)
            if behind < stable { return 1 }
            guard behind < stable + Double(decay) else { return floor }
            let progress = (behind - stable) / Double(max(1, decay))
            let fall =
                switch slope {
                case .linear: 1 - progress
                case .cosine: 0.5 * (1 + cos(.pi * cycles * 2 * progress))
                case .oneMinusRoot: 1 - progress.squareRoot()
                }
            return max(0, fall * (1 - floor) + floor)
        }
    }

    /// The share within the warm-up.
    private func rise(_ step: Int, _ warmup: Int) -> Double {
        let progress = Double(step) / Double(max(1, warmup))
        switch self {
        case .countedCosine(_, _, let start):
            guard let start else { return Double(step + 1) / Double(max(1, warmup)) }
            return start + (1 - start) * Double(step) / Double(max(1, warmup - 1))
        case .stable(_, _, let slope, _, let floor, _):
            let rise =
                switch slope {
                case .linear: progress
                case .cosine: 0.5 * (1 - cos(.pi * progress))
                case .oneMinusRoot: 1 - (1 - progress).squareRoot()
                }
            return max(0, rise * (1 - floor) + floor)
        default: return progress
        }
    }
}
