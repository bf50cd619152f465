import Foundation

/// The learning rate over a run, as transformers' schedules of the same names compute it.
public struct LearningRateSchedule: Sendable, Equatable {
    /// `lr_scheduler_type`.
    public enum Kind: String, Sendable, CaseIterable {
        /// The peak rate throughout; a warm-up is ignored.
        case constant
        /// A linear warm-up, then the peak rate.
        case constantWithWarmup = "constant_with_warmup"
        /// A linear warm-up, then linearly down to 0 at the end.
        case linear
        /// A linear warm-up, then half a cosine down to 0 at the end.
        case cosine
    }

    /// Which one.
    public let kind: Kind
    /// The peak rate.
    public let peak: Double
    /// Steps of warm-up.
    public let warmupSteps: Int
    /// Steps of the run.
    public let totalSteps: Int

    /// A schedule whose warm-up takes ceil(ratio · steps), as Trainer's `warmup_ratio`.
    public init(kind: Kind, peak: Double, warmupRatio: Double, totalSteps: Int) {
        self.init(
            kind: kind, peak: peak, warmupSteps: Int((warmupRatio * Double(totalSteps)).rounded(.up)),
            totalSteps: totalSteps)
    }

    /// The schedule of a run with those options.
    public init(options: TrainingOptions, totalSteps: Int) {
        self.init(
            kind: options.schedule, peak: options.learningRate, warmupRatio: options.warmupRatio, totalSteps: totalSteps
        )
    }

    /// A schedule.
    public init(kind: Kind, peak: Double, warmupSteps: Int, totalSteps: Int) {
        self.kind = kind
        self.peak = peak
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The rate of a step, counted from 0: the first step of a warm-up has rate 0.
    public func rate(step: Int) -> Double { peak * factor(step) }

    private func factor(_ step: Int) -> Double {
        if kind == .constant { return 1 }
        if step < warmupSteps { return Double(step) / Double(max(1, warmupSteps)) }
        let span = Double(max(1, totalSteps - warmupSteps))
        switch kind {
        case .constant, .constantWithWarmup: return 1
        case .linear: return max(0, Double(totalSteps - step) / span)
        case .cosine: return max(0, 0.5 * (1 + cos(.pi * Double(step - warmupSteps) / span)))
        }
    }
}
