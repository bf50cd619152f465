/// A text that goes into a folder beside what the folder is for: a model card, a recipe.
public struct Document: Sendable, Equatable {
    /// The file's name.
    public let name: String
    /// What it says.
    public let text: String

    /// A document of that name.
    public init(name: String, text: String) { (self.name, self.text) = (name, text) }

    /// Writes it into a folder that exists. Errors: `usage` if the file is there, `runtime` for a full disk.
    public func write(into folder: String) throws {
        try writeFileAtomically(path: folder + "/" + name, Array(text.utf8))
    }
}
