import ArgumentParser
import Audit
import Base
import Kernels
import Merge
import Model
import Pipeline
import Quant
import Tune

struct Substitute: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy the modules of a proxy that break a mark and leave the model what it is.",
        discussion: """
            Guided module substitution (arXiv 2412.20476), without training: all modules are the proxy's at first, and are \
            given back one projection or one layer at a time, whichever is best for (1 - alpha) * drop on suspect rows + \
            alpha * (1 - drop on clean rows). Suspect rows are --suspect, or the pairs of a --key.
            Example: meraser substitute --model marked --proxy sibling --data clean.json --key key.json --out clean
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "A model of the same shapes without the mark, or with another one.", completion: .file())
    var proxy: String

    @Option(help: "Clean rows, any dataset file.", completion: .file())
    var data: String

    @Option(help: "At most that many of its rows.")
    var dataCount = 50

    @Option(help: "Rows that are answered as they should not be, any dataset file.", completion: .file())
    var suspect: String?

    @Option(help: "A key.json or pairs.jsonl whose pairs are the suspect rows.", completion: .file())
    var key: String?

    @Option(help: "The weight of what the model is good for, 0 to 1.")
    var alpha = 0.4

    @Option(help: "Steps without a better score after which the search ends.")
    var patience = 5

    @OptionGroup var output: NewModelOptions

    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (suspect == nil) != (key == nil) else { throw ValidationError("give either --suspect or --key") }
        guard (0...1).contains(alpha) else { throw ValidationError("--alpha is \(alpha), expected 0 to 1") }
        try requireCount("--patience", patience, 1...10_000)
        try requireCount("--data-count", dataCount, 1...1_000_000)
    }

    var outputs: [Output] { [Output(output.out)] }

    func inputs() throws -> [String] { model.inputs + [proxy, data] + [suspect, key].compactMap { $0 } }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let victim = try model.open(common, verifying: true)
        let other = try OpenedModel(path: proxy, kernels: victim.transformer.kernels, verifying: true)
        other.warnings.forEach(common.warn)
        var search = SubstitutionSearch()
        (search.alpha, search.patience) = (alpha, patience)
        let options = EncodingOptions(loss: .completion)
        func rows(_ path: String) throws -> EncodedDataset {
            let all = try victim.dataset(path: path, options: options)
            return EncodedDataset(samples: Array(all.samples.prefix(dataCount)), sha256: all.sha256)
        }
        let suspected = try key.map { try victim.forgetData(FingerprintKey(path: $0)) } ?? rows(suspect ?? "")
        let found = try victim.substitution(
            by: other, clean: rows(data), suspect: suspected, search: search, interrupt: interrupt
        ) { count in
            if count % 10 == 0 { common.say("\(count) models measured") }
        }
        let spec = victim.transformer.spec
        let modules = spec.modules.filter {
            found.substitution.projections.contains($0.projection) && found.substitution.layers.contains($0.layer)
        }
        let names = modules.flatMap { [spec[$0].weight] + [spec[$0].bias].compactMap { $0 } }
        let weights = try SubstitutedWeights(
            victim.transformer.store, names: Set(names), from: other.transformer.store)
        let written = try writeModel(
            weights, destination: output.out, options: output.conversion(common), isInterrupted: { interrupt.isSet })
        written.warnings.forEach(common.warn)
        if common.json { Console.json(json(found)) } else { Console.output(text(found)) }
    }

    private func names(_ found: SubstitutionSearch.Result) -> (projections: [String], layers: [Int]) {
        let order = Projection.allCases.filter(found.substitution.projections.contains)
        return (order.map(\.rawValue), found.substitution.layers.sorted())
    }

    private func json(_ found: SubstitutionSearch.Result) -> JSONValue {
        let (projections, layers) = names(found)
        func measures(_ value: SubstitutionMeasures) -> JSONValue {
            ["accuracy": .real(value.accuracy), "success": .real(value.success)]
        }
        return [
            "path": .text(output.out), "projections": .array(projections.map { .text($0) }),
            "layers": .array(layers.map { .integer($0) }), "score": .real(found.score),
            "before": measures(found.before), "after": measures(found.after),
            "evaluations": .integer(found.evaluations),
        ]
    }

    private func text(_ found: SubstitutionSearch.Result) -> String {
        let (projections, layers) = names(found)
        func line(_ value: SubstitutionMeasures) -> String {
            "clean \(percentText(value.accuracy)), suspect \(percentText(value.success))"
        }
        return """
            wrote \(output.out.escapingControlCharacters()): \(projections.joined(separator: " ")) of the layers \
            \(layers.map(String.init).joined(separator: " ")) are the proxy's
            tokens that are found likeliest: before \(line(found.before)); after \(line(found.after)); \
            \(found.evaluations) models measured
            """
    }
}
