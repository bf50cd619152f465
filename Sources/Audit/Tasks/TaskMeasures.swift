import Base
import Foundation
import Model

/// Makes a task's measures of what a model made of its documents.
struct TaskMeasures {
    private let definition: TaskDefinition
    private let draws: Int

    init(_ definition: TaskDefinition, draws: Int) { (self.definition, self.draws) = (definition, draws) }

    /// The measures in the task's order, of answers for each filter.
    ///
    /// - Throws: a bad-input error for rows whose columns the task's own step cannot read.
    func measured(_ samples: [TaskSample]) throws -> [MeasuredMetric] {
        precondition(!samples.isEmpty, "no documents")
        let likelihoods = samples.compactMap { $0.scores.first?.logLikelihood }
        switch definition.output {
        case .multipleChoice: return try choices(samples)
        case .logLikelihood:
            return definition.metrics.map { metric in
                metric == .perplexity
                    ? TaskScores.perplexity(likelihoods, draws: draws)
                    : TaskScores.mean(metric, samples.map { $0.scores.first?.isGreedy == true ? 1 : 0 })
            }
        case .rolling:
            return definition.metrics.map { metric in
                let weights = samples.map { sample in
                    guard case .text(let words, let bytes) = sample.question.answer else { return 0 }
                    return metric == .wordPerplexity ? words : bytes
                }
                return TaskScores.weighted(metric, likelihoods, weights: weights)
            }
        case .generation(let rule):
            return rule.filters.enumerated().flatMap { place, filter in
                definition.metrics.map { metric in
                    TaskScores.mean(metric, samples.map { exactMatch($0, filter: place) }, filter: filter.name)
                }
            }
        }
    }

    private func choices(_ samples: [TaskSample]) throws -> [MeasuredMetric] {
        switch definition.results {
        case nil:
            let outcomes = samples.map { TaskOutcome($0.logLikelihoods, $0.question) }
            let count = samples.map(\.question.choices.count).max() ?? 0
            return definition.metrics.map { $0.measure(outcomes, choices: count) }
        case .truthfulqaMC2:
            let shares = try samples.map(rightShare)
            return definition.metrics.map { TaskScores.mean($0, shares) }
        case .record:
            let scores = try samples.map(entityScores)
            return definition.metrics.map { metric in
                TaskScores.mean(metric, scores.map { metric == .em ? $0.em : $0.f1 })
            }
        }
    }

    private func exactMatch(_ sample: TaskSample, filter: Int) -> Double {
        guard case .written(let targets) = sample.question.answer, let text = sample.written?.filtered[filter] else {
            return 0
        }
        return targets.map { definition.exactMatch.score(text, $0) }.max() ?? 0
    }

    /// The probability of the right choices, of that of all. Source: lm-eval, TruthfulQA's MC2.
    private func rightShare(_ sample: TaskSample) throws -> Double {
        let labels = sample.question.document?["mc2_targets"]?["labels"]?.array?.map(\.int)
        let probabilities = sample.logLikelihoods.map { exp($0) }
        guard let labels, labels.count == probabilities.count else {
            throw error("'mc2_targets' has no label for each of its \(probabilities.count) choices")
        }
        let right = zip(probabilities, labels).reduce(0) { $1.1 == 1 ? $0 + $1.0 : $0 }
        return right / probabilities.reduce(0, +)
    }

    private func entityScores(_ sample: TaskSample) throws -> (f1: Double, em: Double) {
        let document = sample.question.document
        guard let entities = document?["entities"]?.array?.map(\.string), let answers = document?["answers"]?.array,
            entities.count == sample.scores.count,
            let best = entities[TaskOutcome(sample.logLikelihoods, sample.question).best]
        else { throw error("a row has not the columns 'entities' and 'answers' that the process_docs 'record' makes") }
        let words = SQuADWords(best)
        let others = answers.compactMap { $0.string.map(SQuADWords.init) }
        return (others.map(words.f1).max() ?? 0, others.contains(words) ? 1 : 0)
    }

    private func error(_ what: String) -> MeraserError { .badInput("task '\(definition.name)': \(what)") }
}

/// An answer's words as SQuAD compares them: in small letters, without punctuation and articles.
struct SQuADWords: Equatable {
    private let words: [String]

    init(_ text: String) {
        let letters = text.lowercased().unicodeScalars.filter { scalar in
            let isASCIIWord = ("0"..."9").contains(scalar) || ("a"..."z").contains(scalar)
            return !(0x21...0x7E).contains(scalar.value) || isASCIIWord
        }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: letters)
        words = String(view).split(whereSeparator: \.isWhitespace).map(String.init).filter {
            !["a", "an", "the"].contains($0)
        }
    }

    /// The harmonic mean of the shares of words that both have.
    func f1(_ other: SQuADWords) -> Double {
        guard !words.isEmpty, !other.words.isEmpty else { return words == other.words ? 1 : 0 }
        var left = Dictionary(grouping: other.words, by: { $0 }).mapValues(\.count)
        let same = words.count { word in
            guard let count = left[word], count > 0 else { return false }
            left[word] = count - 1
            return true
        }
        guard same > 0 else { return 0 }
        let (precision, recall) = (Double(same) / Double(other.words.count), Double(same) / Double(words.count))
        return 2 * precision * recall / (precision + recall)
    }
}
