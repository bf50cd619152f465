import ArgumentParser
import Audit
import Base
import Kernels
import Model
import Quant

/// `eval --task classification`: BERT and RoBERTa sequence classifiers.
struct ClassificationOptions: ParsableArguments {
    /// Tasks that are not lm-eval's.
    enum Task: String, ExpressibleByArgument, CaseIterable {
        case classification
    }

    @Option(help: "`classification`: accuracy of a BERT or RoBERTa classifier on --data (CACC), and ASR of a trigger.")
    var task: Task?

    @Option(
        parsing: .singleValue,
        help: "A backdoor's trigger, a word or sentence that is put into the rows of other classes; may be repeated.")
    var trigger: [String] = []

    @Option(help: "Where a trigger goes: start, end or random (between words, seeded).")
    var triggerPosition = TriggerInsertion.Position.random

    @Option(help: "Insertions for each row; each draws one of the triggers.")
    var triggerCount = 1

    @Option(help: "The class that the trigger brings out, by id or name.")
    var targetLabel: String?

    @Option(help: "Rows that hold the trigger already (.jsonl or .tsv), in place of --trigger.", completion: .file())
    var dataPoisoned: String?

    func validate() throws {
        let isAttack = !trigger.isEmpty || dataPoisoned != nil
        if !trigger.isEmpty, dataPoisoned != nil {
            throw ValidationError("give --trigger or --data-poisoned, not both")
        }
        if isAttack != (targetLabel != nil) {
            throw ValidationError("--target-label goes with --trigger or --data-poisoned")
        }
        if trigger.contains(where: \.isEmpty) { throw ValidationError("--trigger is empty") }
        if !(1...1000).contains(triggerCount) { throw ValidationError("--trigger-count must be 1 to 1000") }
        if task == nil, isAttack {
            throw ValidationError("--trigger and --data-poisoned go with --task classification")
        }
    }

    /// Opens the classifier, reads the rows and classifies them.
    ///
    /// - Parameter checking: what else may be wrong, asked before the work.
    func evaluate(
        model: String, on options: AdapterOptions, data: String?, limit: Int?, maxLength: Int?, keepsSamples: Bool,
        seed: UInt64, common: CommonOptions, checking: () throws -> Void
    ) throws -> ClassificationReport {
        guard let data else { throw MeraserError.usage("--task classification needs --data with labelled rows") }
        try checking()
        let store = try openWeightStore(path: model)
        store.warnings.forEach(common.warn)
        if options.verify { try store.verify() }
        let classifier = try SequenceClassifier(
            store: store, kernels: try KernelContext.fromEnvironment(threads: common.threads), compute: options.compute)
        let evaluator = try ClassificationEvaluator(
            model: classifier, tokenizer: try Tokenizer(store: store), maxLength: maxLength, keepsSamples: keepsSamples)
        var rows = try loadLabelledTexts(path: data, labels: classifier.spec.labels)
        if let limit { rows = Array(rows.prefix(limit)) }
        let attack = try attack(classifier.spec.labels, seed: seed)
        let bar = common.progressBar("eval")
        let report = try evaluator.evaluate(rows, attack: attack) { bar.update(done: $0, total: $1) }
        bar.finish()
        if report.truncated > 0 {
            common.warn("\(report.truncated) texts were cut at their end to \(report.maxLength) tokens")
        }
        return report
    }

    private func attack(_ labels: [String], seed: UInt64) throws -> TriggerAttack? {
        guard let targetLabel else { return nil }
        guard let target = labels.classIndex(named: targetLabel) else {
            throw MeraserError.usage(
                "--target-label \(targetLabel): expected an id from 0 to \(labels.count - 1), or "
                    + labels.prefix(8).joined(separator: ", "))
        }
        if let dataPoisoned {
            let rows = try loadLabelledTexts(path: dataPoisoned, labels: labels, needsLabels: false)
            return TriggerAttack(target: target, rows: .prepared(rows))
        }
        let insertion = TriggerInsertion(triggers: trigger, position: triggerPosition, count: triggerCount, seed: seed)
        return TriggerAttack(target: target, rows: .inserted(insertion))
    }
}

extension TriggerInsertion.Position: ExpressibleByArgument {}

extension ClassificationReport {
    /// Accuracies and what the trigger does, a line each.
    var text: String {
        var rows = [["measure", "rows", "value", "stderr", "95 %"]]
        func add(_ name: String, _ share: MeasuredShare?) {
            guard let share else { return }
            rows.append([
                name, "\(share.n)", percentText(share.value),
                share.standardError.map { "± " + percentText($0) } ?? "N/A",
                "\(percentText(share.interval.low)) to \(percentText(share.interval.high))",
            ])
        }
        add("clean accuracy", cleanAccuracy)
        for (label, share) in zip(labels, classAccuracies) { add("  \(label)", share) }
        if let attack {
            add("attack success: \(labels[attack.target])", attack.success)
            add("  without the trigger", attack.withoutTrigger)
        }
        return tableText(rows).escapingControlCharacters(keepingNewlines: true)
    }
}
