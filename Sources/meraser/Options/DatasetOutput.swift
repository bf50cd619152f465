import ArgumentParser

/// The file that a command on datasets makes.
struct DatasetOutput: ParsableArguments {
    @Option(
        name: .shortAndLong, help: "The .json or .jsonl file to make.",
        completion: .file(extensions: ["json", "jsonl"]))
    var out: String

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false
}
