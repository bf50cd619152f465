import Foundation

/// A measure over a task's documents.
public struct MeasuredMetric: Sendable, Equatable {
    /// What was measured.
    public let metric: TaskMetric
    /// Its value.
    public let value: Double
    /// Its standard error; nil where there is no formula (`f1`) or only one document.
    public let standardError: Double?
}

/// What a model made of one document: which choices each measure prefers, and which are right.
struct TaskOutcome: Sendable, Equatable {
    let gold: [Int]
    let best: Int
    let bestPerCharacter: Int
    let bestPerByte: Int

    /// - Parameters:
    ///   - logLikelihoods: of the choices, in nats.
    ///   - question: what was asked.
    init(_ logLikelihoods: [Double], _ question: TaskQuestion) {
        precondition(logLikelihoods.count == question.choices.count, "\(logLikelihoods.count) log-likelihoods")
        gold = question.gold
        best = Self.indexOfLargest(logLikelihoods)
        bestPerCharacter = Self.indexOfLargest(
            zip(logLikelihoods, question.choices).map { $0 / Double($1.unicodeScalars.count) })
        bestPerByte = Self.indexOfLargest(zip(logLikelihoods, question.choices).map { $0 / Double($1.utf8.count) })
    }

    /// The first of the largest.
    private static func indexOfLargest(_ values: [Double]) -> Int {
        var best = 0
        for i in values.indices where values[i] > values[best] { best = i }
        return best
    }

    /// 1 or 0; nil for measures that are not means over documents.
    func hit(_ metric: TaskMetric) -> Double? {
        switch metric {
        case .acc: gold.contains(best) ? 1 : 0
        case .accNorm: gold.contains(bestPerCharacter) ? 1 : 0
        case .accBytes: gold.contains(bestPerByte) ? 1 : 0
        case .f1: nil
        }
    }
}

extension TaskMetric {
    /// The measure over those documents, at least one.
    func measure(_ outcomes: [TaskOutcome], choices: Int) -> MeasuredMetric {
        precondition(!outcomes.isEmpty, "no documents")
        let hits = outcomes.compactMap { $0.hit(self) }
        guard hits.count == outcomes.count else {
            return MeasuredMetric(metric: self, value: Self.macroF1(outcomes, choices: choices), standardError: nil)
        }
        let mean = hits.reduce(0, +) / Double(hits.count)
        guard hits.count > 1 else { return MeasuredMetric(metric: self, value: mean, standardError: nil) }
        // lm-eval's mean_stderr: the sample's standard deviation (n − 1) over √n.
        let squares = hits.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let error = (squares / Double(hits.count - 1)).squareRoot() / Double(hits.count).squareRoot()
        return MeasuredMetric(metric: self, value: mean, standardError: error)
    }

    /// The mean of each choice's F1 score, 0 for a choice that neither is right anywhere nor was chosen.
    private static func macroF1(_ outcomes: [TaskOutcome], choices: Int) -> Double {
        let scores = (0..<choices).map { choice in
            let both = outcomes.count { $0.best == choice && $0.gold[0] == choice }
            let either = outcomes.count { $0.best == choice } + outcomes.count { $0.gold[0] == choice }
            return either == 0 ? 0 : 2 * Double(both) / Double(either)
        }
        return scores.reduce(0, +) / Double(choices)
    }
}
