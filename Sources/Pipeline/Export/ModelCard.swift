import Base
import Foundation
import Quant

/// The model card, `README.md`, of what an export wrote: what it is made of and how, for people and for Hugging Face's
/// hub.
public struct ModelCard: Sendable {
    /// What was written.
    public enum Kind: String, Sendable {
        case hf, gguf, ollama, peft

        fileprivate var library: String? {
            switch self {
            case .hf: "transformers"
            case .peft: "peft"
            case .gguf, .ollama: nil
            }
        }

        fileprivate var tags: [String] {
            switch self {
            case .hf: ["meraser"]
            case .gguf, .ollama: ["meraser", "gguf"]
            case .peft: ["meraser", "lora"]
            }
        }
    }

    private let kind: Kind
    private let baseModel: String
    private let license: String?
    private let method: [String]
    private var figures: [String] = []
    private let command: String

    /// A card.
    ///
    /// - Parameters:
    ///   - baseModel: Hugging Face's name of the model, or its folder's.
    ///   - folder: where that model lies, whose own card says its license; nil: nobody knows.
    ///   - adapters: what is in it or on it, lowest first.
    ///   - weights: a sentence about the weights; nil for adapters alone.
    ///   - command: the words of the command line; of paths only the last component is written.
    public init(
        _ kind: Kind, baseModel: String, folder: String?, adapters: [AdapterFile], weights: String?, command: [String]
    ) {
        self.kind = kind
        self.baseModel = baseModel
        license = folder.flatMap(Self.license)
        method =
            adapters.map { adapter in
                let config = adapter.config
                let kind = config.useDoRA ? "DoRA" : config.useRSLoRA ? "rsLoRA" : "LoRA"
                return "`\(fileName(ofPath: adapter.path))`: \(kind) of rank \(config.r), alpha "
                    + "\(Figures.number(config.loraAlpha, 2)), on \(adapter.modules.count) modules, SHA-256 `\(adapter.sha256)`"
            } + [weights].compactMap { $0 }
        self.command = Self.shown(command)
    }

    /// A command line without where things lie on this machine.
    static func shown(_ command: [String]) -> String {
        shellText(command.map { $0.contains("/") ? fileName(ofPath: $0) : $0 })
    }

    /// Adds the figures and the verdict of a run's report.
    public mutating func add(_ report: RunReport) {
        let table = report.table
        guard let head = table.first else { return }
        func row(_ cells: [String]) -> String {
            "| " + cells.map { $0.replacing("|", with: "\\|").replacing("\n", with: " ") }.joined(separator: " | ")
                + " |"
        }
        figures = report.verdictLines.map { "- \($0)" }
        figures += ["", row(head), row(head.map { _ in "---" })] + table.dropFirst().map(row)
    }

    /// `README.md`.
    public var document: Document {
        var lines = ["---", "base_model: \(JSONString.quoted(baseModel))"]
        if let library = kind.library { lines.append("library_name: \(library)") }
        if let license { lines.append("license: \(license)") }
        lines += ["tags:"] + kind.tags.map { "- \($0)" } + ["---", "", "# \(baseModel), written by meraser", ""]
        lines.append("Made of `\(baseModel)` by meraser \(meraserVersion).")
        lines += ["", "## Method", ""] + method.map { "- \($0)" }
        if !figures.isEmpty { lines += ["", "## Figures", ""] + figures }
        lines += ["", "## Command", "", "```", command, "```"]
        return Document(name: "README.md", text: lines.joined(separator: "\n") + "\n")
    }

    /// `license` in the front matter of the card in that folder; nil where there is none, or no plain word.
    static func license(_ folder: String) -> String? {
        guard let file = try? MappedFile(path: folder + "/README.md") else { return nil }
        let text = file.withBytes { String(decoding: $0.prefix(1 << 16), as: UTF8.self) }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map {
            $0.trimmingCharacters(in: .whitespaces)
        }
        guard lines.first == "---", let end = lines.dropFirst().firstIndex(of: "---") else { return nil }
        guard let line = lines[1..<end].first(where: { $0.hasPrefix("license:") }) else { return nil }
        let word = line.dropFirst("license:".count).trimmingCharacters(in: CharacterSet(charactersIn: " \"'"))
        let isPlain = word.utf8.allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
        }
        return isPlain && (1...64).contains(word.utf8.count) ? word : nil
    }
}
