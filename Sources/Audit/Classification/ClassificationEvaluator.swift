import Base
import Model
import Quant

/// A trigger to try on a classifier.
public struct TriggerAttack: Sendable, Equatable {
    /// The triggered rows.
    public enum Rows: Sendable, Equatable {
        /// The clean rows of other classes than the target, with a trigger put into each.
        case inserted(TriggerInsertion)
        /// Rows that have the trigger already. Those of other classes than the target count; where every row has the
        /// target's class, as in the files that published attacks write, all count, as do rows without a class.
        case prepared([LabelledText])
    }

    /// The class that the trigger should bring out.
    public let target: Int
    /// The rows.
    public let rows: Rows

    /// An attack.
    public init(target: Int, rows: Rows) {
        self.target = target
        self.rows = rows
    }
}

/// Measures a text classifier: clean accuracy (CACC) and attack success rate (ASR), as the papers on merging backdoored
/// classifiers do. Use from one thread at a time.
public struct ClassificationEvaluator {
    private let model: SequenceClassifier
    private let tokenizer: Tokenizer
    private let maxLength: Int
    private let keepsSamples: Bool

    /// An evaluator.
    ///
    /// - Parameters:
    ///   - maxLength: tokens of a text, those around it included; longer ones lose their end. Nil: what the model takes.
    ///   - keepsSamples: puts every row's logits into the report.
    /// - Throws: a usage error for a length that the model does not take; a bad-input error for a tokenizer with more
    ///   tokens than the model.
    public init(
        model: SequenceClassifier, tokenizer: Tokenizer, maxLength: Int? = nil, keepsSamples: Bool = false
    ) throws {
        let most = model.spec.maxTokens
        guard (4...max(4, most)).contains(maxLength ?? most) else {
            throw MeraserError.usage("`max_length` \(maxLength ?? most): expected 4 to \(most) for this model")
        }
        guard tokenizer.vocabularySize <= model.spec.vocabSize else {
            throw MeraserError.badInput(
                "\(model.store.path): the tokenizer has \(tokenizer.vocabularySize) tokens, the model's embedding "
                    + "\(model.spec.vocabSize)")
        }
        self.model = model
        self.tokenizer = tokenizer
        self.maxLength = maxLength ?? most
        self.keepsSamples = keepsSamples
    }

    /// Classifies the clean rows, which must have classes, and the triggered ones.
    ///
    /// - Parameter onText: called with the number of texts done and of all.
    /// - Throws: a bad-input error if no row is left to attack, or what the model throws.
    public func evaluate(
        _ rows: [LabelledText], attack: TriggerAttack? = nil, onText: (Int, Int) -> Void = { _, _ in }
    ) throws -> ClassificationReport {
        precondition(!rows.isEmpty && rows.allSatisfy { $0.label != nil }, "rows without classes")
        let poisoned = try attack.map { try Self.poisonedRows($0, clean: rows) }
        let texts = rows + (poisoned?.rows ?? [])
        let encoded = texts.map { text in
            model.spec.input(text.text, pair: text.pair, tokenizer: tokenizer, maxLength: maxLength)
        }
        let logits = try model.logits(encoded) { onText($0, texts.count) }
        let classified = texts.indices.map { index in
            ClassifiedText(row: texts[index], isPoisoned: index >= rows.count, logits: logits[index])
        }
        let clean = classified.prefix(rows.count)
        let labels = model.spec.labels
        return ClassificationReport(
            labels: labels, cleanAccuracy: Self.accuracy(clean) ?? MeasuredShare(hits: 0, of: 1),
            classAccuracies: labels.indices.map { label in Self.accuracy(clean.filter { $0.row.label == label }) },
            attack: attack.map { attack in
                func share(_ rows: some Collection<ClassifiedText>) -> MeasuredShare {
                    MeasuredShare(hits: rows.count { $0.prediction == attack.target }, of: rows.count)
                }
                return AttackResult(
                    target: attack.target, success: share(classified.dropFirst(rows.count)),
                    withoutTrigger: poisoned?.sources.map { share($0.map { classified[$0] }) })
            },
            truncated: encoded.count { $0.isTruncated }, maxLength: maxLength,
            samples: keepsSamples ? classified : nil, model: fileName(ofPath: model.store.path))
    }

    private static func accuracy(_ rows: some Collection<ClassifiedText>) -> MeasuredShare? {
        rows.isEmpty ? nil : MeasuredShare(hits: rows.count { $0.prediction == $0.row.label }, of: rows.count)
    }

    /// The triggered rows, and which clean ones they were made from if any.
    private static func poisonedRows(
        _ attack: TriggerAttack, clean: [LabelledText]
    ) throws -> (rows: [LabelledText], sources: [Int]?) {
        switch attack.rows {
        case .inserted(let insertion):
            let sources = clean.indices.filter { clean[$0].label != attack.target }
            guard !sources.isEmpty else {
                throw MeraserError.badInput("every row has the target's class: none is left for the trigger")
            }
            let rows = sources.map { clean[$0].with(text: insertion(clean[$0].text, row: $0)) }
            return (rows, sources)
        case .prepared(let rows):
            let others = rows.filter { $0.label != attack.target }
            return (others.isEmpty ? rows : others, nil)
        }
    }
}
