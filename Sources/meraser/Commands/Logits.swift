import ArgumentParser
import Base
import Kernels
import Model
import Pipeline
import Tune

struct Logits: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a text's logits, hidden states and LoRA gradients, to compare them with another program's.",
        discussion: """
            The file holds `input_ids` [T] (I64) and, all F32, `logits` [T, V]; with --hidden `hidden_states.0` (the \
            embeddings) to `hidden_states.N` [T, hidden], as Transformers' output_hidden_states gives them: the stream \
            behind each layer, the last one behind the final norm too; with --gradients `loss` [1], the mean over all \
            tokens behind the first (labels=input_ids), and its gradients by the topmost adapter's factors under PEFT's \
            names, without dropout; adapters below it are frozen. Computes in f32 unless --compute says otherwise.
            Example: meraser logits --model Examples/tinychat --text 'Hello, world' --hidden --out hello.safetensors
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "The text; its tokens are those that `meraser tokenize` shows, BOS included.")
    var text: String?

    @Option(
        help: "The text's token ids as they are, with commas: 1,2,3. The model needs no tokenizer then.",
        transform: tokenIDs)
    var ids: [Int32]?

    @Option(
        name: .shortAndLong, help: "The safetensors file to make.",
        completion: .file(extensions: ["safetensors"]))
    var out: String

    @Flag(help: "Write the hidden states as well.")
    var hidden = false

    @Flag(help: "Write the loss and the topmost adapter's gradients as well.")
    var gradients = false

    @Option(help: "Precision of the backward of --gradients (default: what --compute has).")
    var backward: Compute?

    @Flag(help: "Replace --out if it exists.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if (text == nil) == (ids == nil) { throw ValidationError("give either --text or --ids") }
        if gradients && model.adapter.isEmpty {
            throw ValidationError("--gradients needs an --adapter, whose gradients they are")
        }
        if backward != nil && !gradients { throw ValidationError("--backward needs --gradients") }
    }

    var outputs: [Output] { [Output(out)] }

    func inputs() throws -> [String] { model.inputs }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        try AtomicFile.checkDestination(out, overwrite: overwrite)
        // The reference, whatever the weights' type: the command is there for comparisons.
        let opened = try model.openWeights(common, compute: model.compute ?? .f32)
        var options = LogitsOptions()
        options.hidden = hidden
        options.gradients = gradients
        options.backward = backward
        options.overwrite = overwrite
        let report = try opened.writeLogits(
            of: try ids ?? tokens(opened), to: out, options: options, interrupt: interrupt)
        let compute = opened.transformer.compute
        if common.json {
            Console.json(report.json(path: out, compute: compute))
        } else {
            Console.output(report.text(path: out, compute: compute))
        }
    }

    /// The tokens of --text.
    private func tokens(_ opened: AdaptedModel) throws -> [Int32] {
        let tokenizer = try Tokenizer(store: opened.transformer.store)
        return tokenizer.encode(utf8: Array((text ?? "").utf8), addSpecialTokens: true)
    }
}

/// Ids of an argument like `1,2,3`.
private func tokenIDs(_ argument: String) throws -> [Int32] {
    try argument.split(separator: ",", omittingEmptySubsequences: false).map { word in
        guard let id = Int32(word), id >= 0 else {
            throw ValidationError("'\(word)' is no token id, expected whole numbers with commas")
        }
        return id
    }
}

extension LogitsReport {
    fileprivate func json(path: String, compute: Compute) -> JSONValue {
        [
            "path": .text(path), "compute": .text(compute.rawValue), "tokens": .integer(tokens),
            "vocabulary": .integer(vocabulary), "hidden_states": .integer(hiddenStates),
            "gradients": .integer(gradients), "loss": loss.map { .real($0) } ?? .null,
        ]
    }

    fileprivate func text(path: String, compute: Compute) -> String {
        var parts = ["logits of \(tokens) tokens [\(tokens), \(vocabulary)] (\(compute.rawValue))"]
        if hiddenStates > 0 { parts.append("\(hiddenStates) hidden states") }
        if let loss { parts.append("loss \(numberText(loss, 6)) with \(gradients) gradients") }
        return "wrote \(path.escapingControlCharacters()): \(parts.joined(separator: ", "))"
    }
}
