import ArgumentParser
import Audit
import Pipeline

/// CleanGen: a reference model judges every token while a model writes.
struct CleanGenFlags: ParsableArguments {
    @Option(
        name: .customLong("cleangen"),
        help:
            "Replace tokens that the model finds much likelier than this reference does by the reference's (CleanGen).",
        completion: .file())
    var reference: String?

    @Option(name: .customLong("cleangen-alpha"), help: "From which ratio of likelihoods on a token is suspect.")
    var alpha = 20.0

    @Option(
        name: .customLong("cleangen-horizon"),
        help: "Tokens that the model writes before the reference looks; results do not depend on it.")
    var horizon = 4

    func validate() throws {
        if !(alpha >= 0) { throw ValidationError("--cleangen-alpha must be 0 or more (inf: nothing is suspect)") }
        if !(1...256).contains(horizon) { throw ValidationError("--cleangen-horizon must be 1 to 256") }
    }

    /// CleanGen around that model, if it was asked for.
    func generator(for model: OpenedModel) throws -> CleanGen? {
        try reference.map {
            try CleanGen(
                model: model.session(), reference: try model.reference(path: $0).session(),
                options: CleanGenOptions(alpha: alpha, horizon: horizon))
        }
    }
}
