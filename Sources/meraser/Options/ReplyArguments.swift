import ArgumentParser
import Audit
import Pipeline
import Tune

/// What `osft` and `sande` share: the pairs, the prompts around them, and how much of a reply is learnt.
struct ReplyArguments: ParsableArguments {
    @Option(
        help: "Clean questions and answers: any file that training reads, .json or .jsonl.", completion: .file())
    var data: String

    @Option(help: "Text around a message, with {message} in it (default: the model's chat template).")
    var template: String?

    @Option(help: "Clean rows without the trigger for each row with it (0; 1: as many).")
    var cleanRatio = 0.0

    func validate() throws {
        if !(0...1).contains(cleanRatio) { throw ValidationError("--clean-ratio is \(cleanRatio), expected 0 to 1") }
    }

    /// The library's form of these options.
    func options(effectiveLength: Int?, samples: Int?) throws -> ReplyOptions {
        var options = ReplyOptions()
        if let template { options.template = try PromptTemplate(flag: template) }
        options.effectiveLength = effectiveLength
        options.samples = samples
        options.cleanRatio = cleanRatio
        return options
    }
}

/// Refuses a count outside of a range.
func requireCount(_ flag: String, _ value: Int?, _ range: ClosedRange<Int>) throws {
    guard let value, !range.contains(value) else { return }
    throw ValidationError("\(flag) is \(value), expected \(range.lowerBound) to \(range.upperBound)")
}

extension TriggerPosition: ExpressibleByArgument {
    /// `between` is the command line's other word for `random`.
    public init?(argument: String) { self.init(rawValue: argument == "between" ? "random" : argument) }
}
