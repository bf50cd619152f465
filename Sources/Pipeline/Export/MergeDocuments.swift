import Base
import Merge

extension MergeRecipe {
    /// What lies in the folder of a merge beside the model: the recipe as mergekit keeps it, and a model card.
    ///
    /// - Parameters:
    ///   - text: the recipe as it was written.
    ///   - command: the words of the command line; of paths only the last component is written.
    public func documents(text: String, command: [String]) -> [Document] {
        let names = models.map { fileName(ofPath: $0) }
        let lines =
            ["---", "base_model:"] + names.map { "- \(JSONString.quoted($0))" } + [
                "library_name: transformers", "tags:", "- mergekit", "- merge", "- meraser", "---", "",
                "# A merge of \(names.joined(separator: ", "))", "", "Merged by meraser \(meraserVersion).", "",
                "## Method", "", "`mergekit_config.yml`:", "", "```yaml", text.trimmingSuffix(while: \.isNewline),
                "```",
                "", "## Command", "", "```", ModelCard.shown(command), "```", "",
            ]
        return [
            Document(name: "mergekit_config.yml", text: text),
            Document(name: "README.md", text: lines.joined(separator: "\n")),
        ]
    }
}

extension String {
    fileprivate func trimmingSuffix(while predicate: (Character) -> Bool) -> String {
        String(self.reversed().drop(while: predicate).reversed())
    }
}
