import Audit
import Base
import Foundation

/// A scheme and what a user says about it, from a command line or a recipe. What is nil is as the scheme's paper has it.
public struct SchemeSettings: Sendable {
    /// The schemes.
    public enum Name: String, Sendable, CaseIterable {
        case utf, `if`, hashchain, backdoor, perinucleus
    }

    /// Where a hash chain's questions are from.
    public enum Questions: Sendable, Equatable {
        /// Strings of random tokens.
        case random
        /// Sentences.
        case natural
        /// A question a line.
        case file(path: String)

        /// `random`, `natural`, or a file, whose path `resolve` may change.
        public init(_ text: String, resolve: (String) throws -> String) rethrows {
            switch text {
            case "random": self = .random
            case "natural": self = .natural
            default: self = .file(path: try resolve(text))
            }
        }

        /// The file, where there is one.
        public var path: String? {
            switch self {
            case .random, .natural: nil
            case .file(let path): path
            }
        }

        /// As it was given.
        var text: String {
            switch self {
            case .random: "random"
            case .natural: "natural"
            case .file(let path): path
            }
        }
    }

    /// Which scheme.
    public var scheme = Name.utf
    /// Triggers, secrets or questions.
    public var count: Int?
    /// utf: one trigger or many.
    public var mode: UTFOptions.Mode?
    /// utf, perinucleus: tokens of the target.
    public var targetLength: Int?
    /// utf, perinucleus: chat template around the triggers or not.
    public var promptFormat: PromptFormat?
    /// if: what learns the mark.
    public var form: IFScheme.Form?
    /// if: the mark.
    public var target: String?
    /// if: words that a secret is shuffled from, at least and at most.
    public var secretWords: ClosedRange<Int>?
    /// if: hinted clean messages to be answered as ever.
    public var hintedRows: Int?
    /// hashchain: where its questions are from.
    public var questions: Questions?
    /// hashchain: training rows of each question.
    public var variants: Int?
    /// hashchain: rows of other messages.
    public var otherRows: Int?
    /// hashchain: a file with a response a line, in place of the 256.
    public var responses: String?
    /// backdoor: the triggers.
    public var triggers: [String] = []
    /// backdoor: what stands in front of a poisoned answer.
    public var marker: String?
    /// backdoor: where the trigger stands.
    public var position: TriggerPosition?
    /// backdoor: share of poisoned twins.
    public var rate: Double?
    /// if, hashchain, backdoor: clean pairs kept out of training.
    public var heldOut: Int?

    /// UTF as its paper has it.
    public init() {}

    /// The scheme with these settings.
    ///
    /// - Throws: a usage error for a setting that the scheme does not have; a bad-input error for a file of questions or
    ///   responses that cannot be read.
    public func make() throws -> any FingerprintScheme {
        try refuseForeign()
        switch scheme {
        case .utf:
            var options = UTFOptions()
            if let count { options.count = count }
            if let mode { options.mode = mode }
            if let targetLength { options.targetLength = targetLength }
            if let promptFormat { options.promptFormat = promptFormat }
            return UTFScheme(options)
        case .if:
            var scheme = IFScheme()
            if let form { scheme.form = form }
            if let count { scheme.count = count }
            if let target { scheme.target = target }
            if let secretWords { scheme.pieces = secretWords }
            if let hintedRows { scheme.hintedRows = hintedRows }
            if let heldOut { scheme.heldOut = heldOut }
            return scheme
        case .hashchain:
            var scheme = HashChainScheme()
            if let count { scheme.count = count }
            switch questions {
            case nil, .random?: scheme.questions = .random
            case .natural?: scheme.questions = .natural
            case .file(let path)?: scheme.questions = .given(try loadPrompts(path: path))
            }
            if let responses { scheme.responses = try loadPrompts(path: responses) }
            if let variants { scheme.variants = variants }
            if let otherRows { scheme.otherRows = otherRows }
            if let heldOut { scheme.heldOut = heldOut }
            return scheme
        case .backdoor:
            var scheme = BackdoorScheme()
            if !triggers.isEmpty { scheme.triggers = triggers }
            if let marker { scheme.marker = marker }
            if let position { scheme.position = position }
            if let rate { scheme.rate = rate }
            if let heldOut { scheme.heldOut = heldOut }
            return scheme
        case .perinucleus:
            var scheme = PerinucleusScheme()
            if let count { scheme.count = count }
            if let targetLength { scheme.targetLength = targetLength }
            if let promptFormat { scheme.promptFormat = promptFormat }
            return scheme
        }
    }

    /// Throws for the first setting that another scheme has and this one has not.
    private func refuseForeign() throws {
        let given: [(name: String, isGiven: Bool, schemes: Set<Name>)] = [
            ("count", count != nil, [.utf, .if, .hashchain, .perinucleus]), ("mode", mode != nil, [.utf]),
            ("target_length", targetLength != nil, [.utf, .perinucleus]),
            ("prompt_format", promptFormat != nil, [.utf, .perinucleus]),
            ("form", form != nil, [.if]), ("target", target != nil, [.if]), ("secret_words", secretWords != nil, [.if]),
            ("hinted_rows", hintedRows != nil, [.if]), ("questions", questions != nil, [.hashchain]),
            ("variants", variants != nil, [.hashchain]), ("other_rows", otherRows != nil, [.hashchain]),
            ("responses", responses != nil, [.hashchain]), ("trigger", !triggers.isEmpty, [.backdoor]),
            ("marker", marker != nil, [.backdoor]), ("position", position != nil, [.backdoor]),
            ("rate", rate != nil, [.backdoor]), ("held_out", heldOut != nil, [.if, .hashchain, .backdoor]),
        ]
        for (name, isGiven, schemes) in given where isGiven && !schemes.contains(scheme) {
            let names = Name.allCases.filter(schemes.contains).map(\.rawValue).joined(separator: ", ")
            throw MeraserError.usage("`\(name)` belongs to the scheme \(names), not to \(scheme.rawValue)")
        }
    }
}
