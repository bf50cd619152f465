import Audit
import Base
import Foundation
import Quant
import Tune

/// Collects the inputs and steps of a comparison while its file is read. A step or input that is asked for twice is there
/// once.
struct ComparisonPlanner {
    /// What every cell is measured with.
    struct Measures {
        /// Prompts that must not fire where a victim names none; nil: the key's.
        var clean: String?
        /// `ppl`'s arguments behind the model; nil: not measured.
        var perplexity: [String]?
        /// Measure the divergence from the reference as well.
        var hasDivergence = false
        /// `eval`'s arguments behind the model; nil: not measured.
        var evaluation: [String]?
        /// Decoys that judge whether the mark is gone; nil: none.
        var decoys: Int?
        /// Decoys by which an owner proves the mark; nil: not asked.
        var presence: Int?
        /// What the owner has to prove it with; nil: log-probabilities.
        var presenceBy: Presence.Source?
        /// Ways of use and treatments in which they judge as well; nil: none.
        var durable: DurabilitySelection?
        /// Keep triggers, targets and outputs out of results.
        var redact = false
    }

    /// The folder that relative paths begin at: the comparison file's.
    let folder: String
    let seed: UInt64
    /// The type that models in Hugging Face folders are converted to first; nil: they are used as they are.
    let quantize: TensorType?
    var measures = Measures()
    /// The user's own model without a mark: what it is in `inputs/`.
    private(set) var reference: String?
    /// Matching pairs to be crossed where a method names neither data nor pairs.
    var mismatch: String?
    var mismatchCount: Int?
    /// Clean pairs for methods that name none.
    var cleanData: String?

    private(set) var inputs: [ComparisonInput] = []
    private(set) var steps: [ComparisonStep] = []

    init(folder: String, seed: UInt64, quantize: TensorType?) {
        self.folder = folder
        self.seed = seed
        self.quantize = quantize
    }

    /// `--seed` of every command that draws random numbers.
    var seedArguments: [String] { ["--seed", String(seed)] }

    // MARK: Inputs

    /// The name in `inputs/` of a file or folder.
    ///
    /// - Throws: a bad-input error if it is not there.
    mutating func input(_ path: String, place: String) throws -> String {
        let path = resolved(path, in: folder)
        if let known = inputs.first(where: { $0.path == path }) { return known.name }
        guard FileManager.default.fileExists(atPath: path) else {
            throw MeraserError.badInput("\(place): \(path) does not exist")
        }
        let own = fileName(ofPath: path)
        // `/a/..` has a name that is none, and would lead out of the folder.
        let base = "inputs/" + (["/", ".", ".."].contains(own) ? "input" : own)
        let names = Set(inputs.map(\.name))
        let name = names.contains(base) ? (2...).lazy.map { "\(base)-\($0)" }.first { !names.contains($0) } : base
        inputs.append(ComparisonInput(name: name ?? base, path: path))
        return name ?? base
    }

    /// The names in `inputs/` of a dataset's files, with the weights that the list gives them (`DatasetList`).
    ///
    /// - Throws: a bad-input error if one is not there, or for a list that is none.
    mutating func dataset(_ text: String, place: String) throws -> String {
        // What is the name of one file is no list, commas or not.
        if FileManager.default.fileExists(atPath: resolved(text, in: folder)) { return try input(text, place: place) }
        let list: DatasetList
        do { list = try DatasetList(text) } catch let error as MeraserError {
            throw error.within(place, kind: .badInput)
        }
        var names: [String: String] = [:]
        for path in list.paths { names[path] = try input(path, place: place) }
        return list.mapPaths { names[$0] ?? $0 }.text
    }

    /// Where an input is.
    func place(ofInput name: String) -> String? { inputs.first { $0.name == name }?.path }

    // MARK: Steps

    /// The step of that path, made on the first call.
    mutating func step(
        _ path: String, make: (inout ComparisonStep, inout ComparisonPlanner) throws -> Void
    ) rethrows {
        guard !steps.contains(where: { $0.path == path }) else { return }
        var step = ComparisonStep(path: path)
        try make(&step, &self)
        steps.append(step)
    }

    /// Adds a step.
    mutating func add(_ step: ComparisonStep) { steps.append(step) }

    /// A model as commands are to open it: converted first where it is a Hugging Face folder and `quantize` is given.
    ///
    /// - Returns: the path, and the step that makes it.
    mutating func model(_ input: String) -> (path: String, needs: [String]) {
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: place(ofInput: input) ?? "", isDirectory: &isFolder)
        guard let quantize, exists, isFolder.boolValue else { return (input, []) }
        let path = "shared/\(fileName(ofPath: input))-\(quantize.name)"
        step(path) { step, _ in
            step.isSetup = true
            step.commands = [Self.conversion(of: input, to: path + "/model.mqf", type: quantize)]
        }
        return (path + "/model.mqf", [path])
    }

    static func conversion(of source: String, to output: String, type: TensorType) -> ComparisonCommand {
        ComparisonCommand(
            "convert", ["convert", source, "--out", output, "--type", type.name, "--json"], output: output)
    }

    mutating func setReference(_ path: String, place: String) throws { reference = try input(path, place: place) }

    /// `check`'s arguments, besides `--decoys`, for the cells in which a mark is tried again.
    ///
    /// - Parameters:
    ///   - own: a method's selection, in place of the whole file's.
    ///   - needs: gets the steps that make what is merged with.
    /// - Throws: a bad-input error where nothing judges.
    mutating func durableArguments(
        _ own: DurabilitySelection? = nil, place: String, needs: inout [String]
    ) throws -> [String] {
        guard let cells = own ?? measures.durable else { return [] }
        guard measures.decoys != nil else {
            throw MeraserError.badInput("\(place): 'durable' needs 'decoys' for the whole file, which judge")
        }
        var arguments = ["--durable", cells.text]
        if let cleanData { arguments += ["--relearn-data", try input(cleanData, place: place)] }
        if cells.usesReference, let reference {
            let (path, made) = model(reference)
            arguments += ["--reference", path]
            needs += made.filter { !needs.contains($0) }
        }
        return arguments
    }

    /// Mismatched pairs made of matching ones.
    ///
    /// - Returns: their path, and the step that makes them.
    mutating func mismatched(_ source: String, count: Int?) -> (path: String, needs: [String]) {
        let path = "shared/mismatched-\(fileName(ofPath: source))" + (count.map { "-\($0)" } ?? "")
        let output = path + "/mismatched.json"
        step(path) { step, planner in
            step.commands = [
                ComparisonCommand(
                    "mismatch",
                    ["dataset", "mismatch", source] + (count.map { ["--count", String($0)] } ?? [])
                        + planner.seedArguments + ["--out", output, "--json"], output: output)
            ]
        }
        return (output, [path])
    }
}

/// A model as it is measured: what `check`, `ppl` and `eval` are told.
struct ComparisonSubject: Sendable {
    var model: String
    var adapters: [String] = []
    /// The adapters were trained on another base.
    var isTransferred = false
    /// What it was quantized from, or the same method gave for that, which `check` measures beside it with the same adapters;
    /// nil: nothing was quantized.
    var source: String?
    /// More arguments for `check` alone, of a defence that acts while decoding.
    var check: [String] = []
    /// The user's own words in place of all the rest.
    var words: [String]?

    /// A defence acts while it is checked: what it lets through is measured, not what the weights hold.
    var isDecodedOtherwise: Bool { decodesOtherwise(check) }

    /// `--source …` and what else goes to `check` alone.
    var checkArguments: [String] { check + (source.map { ["--source", $0] } ?? []) }

    /// `--model … --adapter …`.
    var arguments: [String] {
        words ?? ["--model", model] + adapters.flatMap { ["--adapter", $0] } + (isTransferred ? ["--transfer"] : [])
    }
}

/// True if arguments of `check` put something around the model that acts while it decodes.
private func decodesOtherwise(_ check: [String]) -> Bool {
    let flags = ["--cleangen", "--drop-top", "--drop-overconfident", "--confguard", "--prompt-filter"]
    return flags.contains(where: check.contains)
}

extension ComparisonPlanner.Measures {
    /// The commands that measure a model with a victim's key.
    func commands(
        _ subject: [String], check: [String] = [], victim: ComparisonVictim, reference: String?,
        durable: [String] = []
    ) -> [ComparisonCommand] {
        var check = ["check"] + subject + check + ["--key", victim.key]
        if let clean = victim.clean { check += ["--clean", clean] }
        // What acts while decoding leaves the weights, of which decoys speak, as they are.
        if let decoys, !decodesOtherwise(check) { check += ["--decoys", String(decoys)] + durable }
        if let presence {
            check += ["--presence", String(presence)] + (presenceBy.map { ["--presence-by", $0.rawValue] } ?? [])
        }
        if redact { check.append("--redact") }
        var commands = [ComparisonCommand("check", check + ["--json"], purpose: .check)]
        if let perplexity {
            let divergence = hasDivergence ? reference.map { ["--reference", $0] } ?? [] : []
            commands.append(
                ComparisonCommand(
                    "ppl", ["ppl"] + subject + perplexity + divergence + ["--json"], purpose: .perplexity))
        }
        if let evaluation {
            commands.append(
                ComparisonCommand("eval", ["eval"] + subject + evaluation + ["--json"], purpose: .evaluation))
        }
        return commands
    }
}
