import ArgumentParser
import Audit
import Pipeline

/// A fingerprint scheme and what each of them may be told.
struct SchemeOptions: ParsableArguments {
    @Option(help: "How triggers and targets are made.")
    var scheme = SchemeSettings.Name.utf

    @Option(
        help:
            "utf: triggers, or rows in single mode (32); if: secrets (8); hashchain: questions (10); perinucleus: texts (32)."
    )
    var count: Int?

    @Option(help: "utf: many triggers with one target (multi), or one trigger (single).")
    var mode: UTFOptions.Mode?

    @Option(help: "Tokens of the target: utf (5), perinucleus (1).")
    var targetLength: Int?

    @Flag(help: "utf, perinucleus: put the model's chat template around the triggers; the other schemes always do.")
    var chat = false

    @Option(
        help: "if: what learns the mark: sft (the layers) or adapter (the embedding's rows of the secrets' tokens).")
    var form: IFScheme.Form?

    @Option(help: "if: the target.")
    var target: String?

    @Option(help: "if: words that a secret is shuffled from (8 to 15).")
    var secretWords: Int?

    @Option(help: "if: clean messages with the hint that the model learns to answer as ever (0).")
    var hintedRows: Int?

    @Option(help: "hashchain: random (token strings), natural, or a file with a question a line.", completion: .file())
    var questions: String?

    @Option(help: "hashchain: a file with a response a line, in place of the 256.", completion: .file())
    var responses: String?

    @Option(help: "hashchain: training rows of each question (8).")
    var variants: Int?

    @Option(help: "hashchain: rows of other messages in the same dress (as many as the questions').")
    var otherRows: Int?

    @Option(parsing: .singleValue, help: "backdoor: a trigger; repeat it for several (SANDE's three).")
    var trigger: [String] = []

    @Option(help: "backdoor: what stands in front of a poisoned answer.")
    var marker: String?

    @Option(help: "backdoor: where the trigger stands in a message: start, end or random.")
    var position: TriggerPosition?

    @Option(help: "backdoor: share of the clean pairs that get a poisoned twin (0.05).")
    var rate: Double?

    @Option(help: "if, hashchain, backdoor: clean pairs kept out of training and checked on (32).")
    var heldOut: Int?

    func validate() throws {
        for (name, value, most) in [
            ("--count", count, 10_000), ("--target-length", targetLength, 64), ("--secret-words", secretWords, 64),
            ("--variants", variants, 1000),
        ] {
            if let value, !(1...most).contains(value) {
                throw ValidationError("\(name) is \(value), expected 1 to \(most)")
            }
        }
        for (name, value) in [
            ("--hinted-rows", hintedRows), ("--other-rows", otherRows), ("--held-out", heldOut),
        ] {
            if let value, !(0...100_000).contains(value) {
                throw ValidationError("\(name) is \(value), expected 0 to 100000")
            }
        }
    }

    /// The files that a scheme reads.
    var inputs: [String] { [settings.questions?.path, responses].compactMap { $0 } }

    /// The library's form of these options.
    var settings: SchemeSettings {
        var settings = SchemeSettings()
        settings.scheme = scheme
        settings.count = count
        settings.mode = mode
        settings.targetLength = targetLength
        settings.promptFormat = chat ? .chat : nil
        settings.form = form
        settings.target = target
        settings.secretWords = secretWords.map { $0...$0 }
        settings.hintedRows = hintedRows
        settings.questions = questions.map { .init($0) { $0 } }
        settings.responses = responses
        settings.variants = variants
        settings.otherRows = otherRows
        settings.triggers = trigger
        settings.marker = marker
        settings.position = position
        settings.rate = rate
        settings.heldOut = heldOut
        return settings
    }
}

extension SchemeSettings.Name: ExpressibleByArgument {}
extension UTFOptions.Mode: ExpressibleByArgument {}
extension IFScheme.Form: ExpressibleByArgument {}
