import ArgumentParser

/// Where a run leaves what it makes.
struct OutputOptions: ParsableArguments {
    @Option(help: "The folder to make.", completion: .directory)
    var out: String

    @Flag(help: "Continue the run in --out from its last checkpoint, bit for bit.")
    var resume = false

    @Flag(help: "Replace the run in --out.")
    var overwrite = false

    func validate() throws {
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
    }
}
