import ArgumentParser

/// Keys of a dataset's rows that its command does not read.
struct ColumnOptions: ParsableArguments {
    @Option(help: "Keys of the rows that are not to be read, with commas between.")
    private var removeColumns: String?

    /// The keys.
    var names: [String] {
        removeColumns?.split(separator: ",", omittingEmptySubsequences: false).map(String.init) ?? []
    }

    func validate() throws {
        if names.contains("") { throw ValidationError("--remove-columns '\(removeColumns ?? "")': a name is empty") }
    }
}
