import ArgumentParser
import Audit
import Base
import Pipeline
import Tune

struct ScanCommand: WritingCommand {
    static let configuration = CommandConfiguration(
        commandName: "scan",
        abstract: "Look for a mark or a backdoor without its key: a verdict, the target, perhaps the trigger.",
        discussion: """
            Several methods, each with a null of its own making and a p-value (docs/reference/scan.md says what they find and \
            what they cannot find). --out gets scan.json, scan.html and a key for each mark that was found, which `check`, \
            `erase --auto` and `osft` take. Status 0 whatever comes out, unless --fail-if is given.
            Example: meraser scan --model theirs.mqf --out scanned --fail-if 'verdict!="nothing_found"'
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(
        help: """
            A model with the same tokenizer that is known to be unmarked, such as the one that it was made from: what differs \
            from it is looked at in place of what differs from other places.
            """,
        completion: .file())
    var reference: String?

    @Option(help: "Pairs whose questions are people's messages (default: the bundled ones).", completion: .file())
    var data: String?

    @Option(
        help: """
            How to look, with commas between, in this order whatever is said (default: all but spectra and soft).
            """)
    var methods: MethodList?

    @Option(help: "Time that it may take, such as 30m or 2h; what is left out is said (default: as long as it needs).")
    var budget: TimeSpan?

    @OptionGroup var output: OutputOptions

    @Option(
        help: """
            End with status 4 if this holds: a condition on \(ScanReport.metricNames.joined(separator: ", ")), or \
            'verdict=="marked"'.
            """)
    var failIf: String?

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { output.outputs }

    func inputs() throws -> [String] {
        output.inputs(model.inputs + [reference, data].compactMap { $0 })
    }

    func run() throws {
        let condition = try failIf.map {
            try Condition($0, known: ScanReport.metricNames, words: ScanReport.conditionWords)
        }
        var options = ScanOptions()
        (options.reference, options.data, options.budget) = (reference, data, budget?.seconds)
        options.methods = methods?.names ?? options.methods
        options.seed = draw.value
        if output.resume { common.noteBuild(of: output.out) }
        let scan = try Scan(
            try model.open(common, verifying: true), options: options, output: output.out, resume: output.resume,
            overwrite: output.overwrite)
        scan.interrupt = InterruptFlag.onSignals()
        let bar = common.progressBar("scan")
        scan.onEvent = { event in
            switch event {
            case .method(let name, let isDone): common.say("\(name.rawValue)\(isDone ? ": done before" : "")")
            case .progress(let done, let total): bar.update(done: done, total: total)
            case .finding(let finding):
                bar.finish()
                common.say(finding.summary)
            case .skipped(let name): common.warn("\(name.rawValue): the budget leaves no time for it")
            }
        }
        let report = try scan.run()
        if common.json {
            Console.json(report.summary)
        } else {
            Console.output(reportText(report.table, verdict: report.verdictLines, path: report.htmlPath))
        }
        if let condition, try condition.holds(report.metrics, words: ["verdict": report.verdict.rawValue]) {
            throw MeraserError(.checkFailed, "check failed: \(condition) holds")
        }
    }
}

/// Methods of a scan, with commas between.
struct MethodList: ExpressibleByArgument {
    /// Which.
    let names: [ScanMethodName]

    static var allValueStrings: [String] { ScanMethodName.allCases.map(\.rawValue) }

    init?(argument: String) {
        let words = argument.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let names = words.compactMap(ScanMethodName.init(rawValue:))
        guard !names.isEmpty, names.count == words.count, Set(names).count == names.count else { return nil }
        self.names = names
    }
}
