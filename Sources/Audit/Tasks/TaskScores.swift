import Foundation

/// A measure over a task's documents.
public struct MeasuredMetric: Sendable, Equatable {
    /// What was measured.
    public let metric: TaskMetric
    /// Its value.
    public let value: Double
    /// Its standard error; nil where there is no formula (`f1`, perplexities by weight) or only one document.
    public let standardError: Double?
    /// What was taken of the answers.
    public var filter = "none"
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
        case .f1, .em, .perplexity, .wordPerplexity, .bytePerplexity, .bitsPerByte, .exactMatch: nil
        }
    }
}

/// What a task's measures are made of: one number a document, or a number and its weight.
enum TaskScores {
    /// Their mean; its standard error is that of a mean.
    static func mean(_ metric: TaskMetric, _ values: [Double], filter: String = "none") -> MeasuredMetric {
        let mean = values.reduce(0, +) / Double(values.count)
        return MeasuredMetric(
            metric: metric, value: mean, standardError: standardError(of: values, mean: mean), filter: filter)
    }

    /// lm-eval's mean_stderr: the sample's standard deviation (n − 1) over √n.
    static func standardError(of values: [Double], mean: Double) -> Double? {
        guard values.count > 1 else { return nil }
        return deviation(of: values, mean: mean) / Double(values.count).squareRoot()
    }

    static func deviation(of values: [Double], mean: Double) -> Double {
        (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot()
    }

    /// e to the mean negative log-likelihood; its standard error is the deviation over lm-eval's bootstrap draws, a
    /// thousand of which come from one generator.
    static func perplexity(_ logLikelihoods: [Double], draws: Int) -> MeasuredMetric {
        let count = Double(logLikelihoods.count)
        func value(_ sum: Double) -> Double { exp(-(sum / count)) }
        let chunk = min(1000, draws)
        var drawn: [Double] = []
        for seed in 0..<(chunk > 0 ? draws / chunk : 0) {
            var random = PythonRandom(seed: UInt64(seed))
            for _ in 0..<chunk {
                var sum = 0.0
                for _ in logLikelihoods { sum += logLikelihoods[Int(random.unit() * count)] }
                drawn.append(value(sum))
            }
        }
        let mean = drawn.reduce(0, +) / Double(max(drawn.count, 1))
        return MeasuredMetric(
            metric: .perplexity, value: value(logLikelihoods.reduce(0, +)),
            standardError: drawn.count > 1 ? deviation(of: drawn, mean: mean) : nil)
    }

    /// Of texts, by their words or bytes.
    static func weighted(_ metric: TaskMetric, _ logLikelihoods: [Double], weights: [Int]) -> MeasuredMetric {
        let mean = logLikelihoods.reduce(0, +) / Double(weights.reduce(0, +))
        return MeasuredMetric(
            metric: metric, value: metric == .bitsPerByte ? -mean / log(2) : exp(-mean), standardError: nil)
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
        return TaskScores.mean(self, hits)
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
