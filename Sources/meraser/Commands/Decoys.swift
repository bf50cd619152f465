import ArgumentParser
import Audit
import Base
import Pipeline
import Tune

struct Decoys: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Try the certificate on keys that nobody embedded: are its p-values uniform, how large is chance?",
        discussion: """
            Draws keys of the kind of --key, as its decoys are drawn, and tests each as `check --decoys` tests a key. On an \
            unmarked model p-values must be uniform, and the margins are what chance stays below (docs/reference/certificate.md). \
            With --durable every cell of `check --durable` is tried so.
            Example: meraser decoys --model tinychat.mqf --key key.json
            """)

    @Option(
        name: .shortAndLong, help: "An unmarked model: an .mqf or .gguf file or a Hugging Face folder.",
        completion: .file())
    var model: String

    @OptionGroup(title: "Model") var on: AdapterOptions

    @Option(help: "A key of the kind: what it holds is looked at to draw others like it.", completion: .file())
    var key: String

    @Option(help: "Keys that are drawn.")
    var keys = 200

    @Option(help: "Groups of keys that share decoys.")
    var groups = 5

    @Option(help: "Decoys of each key.")
    var decoys = DecoyOptions.leastCount

    @OptionGroup(title: "Durability") var durability: DurabilityFlags

    @Option(help: "Keys that --durable teaches in every cell that relearns, each beside the next one.")
    var taught: Int?

    @Option(help: "Clean rows for --durable's cells relearn_clean.", completion: .file())
    var relearnData: String?

    @Option(help: "A model that --durable merges with.", completion: .file())
    var reference: String?

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    func validate() throws {
        try requireCount("--keys", keys, 20...10_000)
        try requireCount("--groups", groups, 1...1000)
        try requireCount("--decoys", decoys, 19...99_999)
        try requireCount("--taught", taught, 2...10_000)
        for (flag, isGiven) in [
            ("--taught", taught != nil), ("--relearn-data", relearnData != nil), ("--reference", reference != nil),
        ] where isGiven && durability.durable == nil {
            throw ValidationError("\(flag) needs --durable")
        }
        if groups > keys { throw ValidationError("--groups is \(groups), more than the \(keys) --keys") }
    }

    func run() throws {
        var options = DecoyKeyOptions()
        (options.keys, options.groups) = (keys, groups)
        options.decoys = DecoyOptions(count: decoys, seed: draw.value)
        let opened = try on.open(model, common, verifying: false)
        if var durable = try durability.options() {
            durable.decoys = options.decoys
            (durable.cleanRows, durable.reference) = (relearnData, reference)
            return try study(opened, options, durable)
        }
        let test = opened.decoyKeyTest(try FingerprintKey(path: key), options: options)
        let bar = common.progressBar("decoys")
        defer { bar.finish() }
        let result = try test.run(on: opened.session()) { bar.update(done: $0, total: $1) }
        bar.finish()
        if common.json { return Console.json(result.json) }
        Console.output(tableText(result.table))
        common.say("\(percentText(result.passing)) of \(keys) keys stay below the margins in code")
    }

    private func study(_ opened: OpenedModel, _ keys: DecoyKeyOptions, _ durable: DurabilityOptions) throws {
        var options = DurabilityStudyOptions()
        options.certificates = keys
        options.taughtKeys = taught ?? options.taughtKeys
        let key = try FingerprintKey(path: key)
        let result = try DurabilityDisplay(common).check(key, durable, InterruptFlag.onSignals()) {
            try $0.study(on: opened, options)
        }
        if common.json { return Console.json(result.json) }
        Console.output(tableText(result.table))
        func share(_ value: Double?) -> String { value.map { percentText($0) } ?? "–" }
        common.say(
            "\(share(result.certified)) of \(self.keys) keys are certified in every cell, and \(share(result.unreturned)) of "
                + "\(options.taughtKeys) come back no faster than the next one in any")
    }
}
