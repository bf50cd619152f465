import ArgumentParser

/// Where a run leaves what it makes.
struct OutputOptions: ParsableArguments {
    @Option(
        name: .shortAndLong, help: "The folder to make.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out: String

    @Flag(help: "Continue the run in --out from its last checkpoint, bit for bit.")
    var resume = false

    @Flag(help: "Replace the run in --out.")
    var overwrite = false

    /// What the run makes.
    var outputs: [Output] { [Output(out, makesParents: true)] }

    /// What must not be replaced: a run that is continued replaces nothing.
    func inputs(_ paths: [String]) -> [String] { resume ? [] : paths }

    func validate() throws {
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
    }
}

/// A folder's path as the name that other names are made from: `out/` is `out`.
func withoutTrailingSlashes(_ path: String) -> String {
    var path = path[...]
    while path.count > 1 && path.last == "/" { path.removeLast() }
    return String(path)
}
