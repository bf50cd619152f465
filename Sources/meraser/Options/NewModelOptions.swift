import ArgumentParser
import Base
import Quant

/// Where a command puts the model that it makes.
struct NewModelOptions: ParsableArguments {
    @Option(
        name: .shortAndLong,
        help: "The Hugging Face folder to make, or an MQF file if the name ends in .mqf.",
        transform: withoutTrailingSlashes)
    var out: String

    @Option(help: "The type of the matrices in an MQF file (default: iq4_nl).")
    var type: TensorType?

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    func validate() throws { try checkFileOptions(out: out, type: type) }

    /// How it is written.
    func conversion(_ common: CommonOptions) throws -> ConvertOptions {
        var options = ConvertOptions()
        if let type { options.type = type }
        options.threads = try common.threadCount
        options.overwrite = overwrite
        return options
    }
}
