import ArgumentParser
import Audit
import Base
import Client
import Pipeline
import Tune

struct ScanCommand: WritingCommand, RemoteCommand {
    static let configuration = CommandConfiguration(
        commandName: "scan",
        abstract: "Look for a mark or a backdoor without its key: a verdict, the target, perhaps the trigger.",
        discussion: """
            Several methods, each with a null of its own making and a p-value (docs/reference/scan.md says what they find and \
            what they cannot find). --out gets scan.json, scan.html and a key for each mark that was found, which `check`, \
            `erase --auto` and `osft` take. Status 0 whatever comes out, unless --fail-if is given.
            Example: meraser scan --model theirs.mqf --out scanned --fail-if 'verdict!="nothing_found"'
            A model behind an API: meraser scan --url http://127.0.0.1:8080 --out scanned
            """)

    @Option(
        name: .shortAndLong, help: "The model: an .mqf or .gguf file or a Hugging Face folder.",
        completion: .file())
    var model: String?

    @OptionGroup(title: "Model") var on: AdapterOptions
    @OptionGroup(title: "Server") var remote: RemoteOptions

    @Option(
        help: """
            A model with the same tokenizer that is known to be unmarked, such as the one that it was made from: what differs \
            from it is looked at in place of what differs from other places. With --url any model at hand, whose answers to the \
            same messages are counted.
            """,
        completion: .file())
    var reference: String?

    @Option(
        help: """
            For --url: a model at hand with the server's tokenizer, of whose tokens strings of no meaning are made (default: \
            --reference's, else letters and digits).
            """, completion: .file())
    var tokenizer: String?

    @Option(help: "Pairs whose questions are people's messages (default: the bundled ones).", completion: .file())
    var data: String?

    @Option(
        help: """
            How to look, with commas between, in this order whatever is said (default: all but spectra and soft; with --url \
            prompts, which alone needs no weights).
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

    static let remoteFlags: Set<String> = [
        "--out", "-o", "--overwrite", "--resume", "--reference", "--tokenizer", "--data", "--methods", "--fail-if",
        "--seed", "--threads", "-t",
    ]

    func validate() throws {
        guard (model == nil) != (remote.url == nil) else { throw ValidationError("give either --model or --url") }
        if model != nil, tokenizer != nil { throw ValidationError("--model has a tokenizer: leave --tokenizer out") }
        if remote.url != nil, let names = methods?.names,
            let name = names.first(where: { !ScanMethodName.ofAnswers.contains($0) })
        {
            throw ValidationError("--methods \(name.rawValue) needs the weights: it has no meaning with --url")
        }
    }

    var outputs: [Output] { remote.outputs + output.outputs }

    func inputs() throws -> [String] {
        output.inputs([model, reference, tokenizer, data].compactMap { $0 } + on.adapter)
    }

    func run() throws {
        let condition = try failIf.map {
            try Condition($0, known: ScanReport.metricNames, words: ScanReport.conditionWords)
        }
        var options = ScanOptions()
        (options.reference, options.data, options.budget) = (reference, data, budget?.seconds)
        options.methods = methods?.names ?? (remote.url == nil ? options.methods : ScanMethodName.ofAnswers)
        options.seed = draw.value
        if output.resume { common.noteBuild(of: output.out) }
        let scan = try remote.url.map { try ofServer($0, options) } ?? ofModel(options)
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

    private func ofModel(_ options: ScanOptions) throws -> Scan {
        let scan = try Scan(
            try on.open(model ?? "", common, verifying: true), options: options, output: output.out,
            resume: output.resume, overwrite: output.overwrite)
        scan.interrupt = InterruptFlag.onSignals()
        return scan
    }

    private func ofServer(_ url: String, _ options: ScanOptions) throws -> Scan {
        let reference = try reference.map { try on.open($0, common) }
        let tokenizer = try tokenizer.map { try on.open($0, common) }
        let model = try remote.open(url, common)
        return try Scan(
            AnswerSubject(model, identity: model.identity, reference: reference, tokenizer: tokenizer),
            options: options, output: output.out, resume: output.resume, overwrite: output.overwrite)
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
