import ArgumentParser
import Audit
import Base
import Pipeline

struct Decoys: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Try the certificate on keys that nobody embedded: are its p-values uniform, how large is chance?",
        discussion: """
            Draws keys of the kind of --key, as its decoys are drawn, and tests each as `check --decoys` tests a key. On an \
            unmarked model p-values must be uniform, and the margins are what chance stays below (docs/certificate.md).
            Example: meraser decoys --model tinychat.mqf --key key.json
            """)

    @Option(help: "An unmarked model: an .mqf or .gguf file or a Hugging Face folder.", completion: .file())
    var model: String

    @OptionGroup var on: AdapterOptions

    @Option(help: "A key of the kind: what it holds is looked at to draw others like it.", completion: .file())
    var key: String

    @Option(help: "Keys that are drawn.")
    var keys = 200

    @Option(help: "Groups of keys that share decoys.")
    var groups = 5

    @Option(help: "Decoys of each key.")
    var decoys = DecoyOptions.leastCount

    @OptionGroup var common: CommonOptions

    func validate() throws {
        try requireCount("--keys", keys, 20...10_000)
        try requireCount("--groups", groups, 1...1000)
        try requireCount("--decoys", decoys, 19...99_999)
        if groups > keys { throw ValidationError("--groups is \(groups), more than the \(keys) --keys") }
    }

    func run() throws {
        var options = DecoyKeyOptions()
        (options.keys, options.groups) = (keys, groups)
        options.decoys = DecoyOptions(count: decoys, seed: common.seed ?? 42)
        let opened = try on.open(model, common, verifying: false)
        let test = opened.decoyKeyTest(try FingerprintKey(path: key), options: options)
        let bar = common.progressBar("decoys")
        defer { bar.finish() }
        let result = try test.run(on: opened.session()) { bar.update(done: $0, total: $1) }
        bar.finish()
        if common.json { return Console.json(result.json) }
        Console.output(tableText(result.table))
        common.say("\(percentText(result.passing)) of \(keys) keys stay below the margins in code")
    }
}
