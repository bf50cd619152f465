/// One command line of meraser in a comparison; its paths are relative to the comparison's folder.
struct ComparisonCommand: Sendable, Equatable {
    /// What it is run for.
    enum Purpose: String, Sendable {
        /// A part of the method: its seconds, memory and samples are the method's.
        case work
        /// The same on what the victim was quantized from, to be measured beside it.
        case source
        /// Trying the key.
        case check
        /// Perplexity.
        case perplexity
        /// Tasks.
        case evaluation
    }

    /// The name of its files in the step's folder: `NAME.json` its result, `NAME.log` its messages.
    let name: String
    /// The arguments of `meraser`.
    let arguments: [String]
    let purpose: Purpose
    /// What it makes; taken away before it is run again.
    let output: String?
    /// It judges what it has done, and a judgement that is bad is a result, not a failure.
    let isJudge: Bool

    init(
        _ name: String, _ arguments: [String], purpose: Purpose = .work, output: String? = nil, isJudge: Bool = false
    ) {
        self.isJudge = isJudge
        self.name = name
        self.arguments = arguments
        self.purpose = purpose
        self.output = output
    }

    /// As it is typed into a shell.
    var text: String { shellText(["meraser"] + arguments) }
}

/// Commands that are run one after another and leave their results in a folder of their own.
struct ComparisonStep: Sendable {
    /// The folder, relative to the comparison's: `cells/utf/erase-60`.
    let path: String
    /// Paths of the steps whose outputs it reads.
    var needs: [String] = []
    /// Files that are written before the commands run: names in the folder, and their texts.
    var files: [(name: String, text: String)] = []
    var commands: [ComparisonCommand] = []
    /// It makes what all methods begin with: its cost is none of theirs.
    var isSetup = false

    init(path: String) { self.path = path }
}

/// A file or folder of the user's that commands read, under a name in `inputs/`.
struct ComparisonInput: Sendable, Equatable {
    /// The name in commands: `inputs/clean.json`.
    let name: String
    /// Where it is.
    let path: String
}

/// One cell of the table: a victim after a method at a budget.
struct ComparisonCell: Sendable {
    let victim: String
    /// The method's name in the file; `clean` for the reference itself.
    let method: String
    /// Nil where a method has no budgets.
    let budget: String?
    /// Its step.
    let path: String
    /// The method acts while the model decodes and leaves the weights as they are: it removes nothing.
    var isDecodingOnly = false

    /// What `--only` is compared with: `utf/erase-60`.
    var name: String { String(path.dropFirst("cells/".count)) }
}
