import Base

/// How byte-level BPE cuts a text into the words inside which tokens merge: what `tokenizer.ggml.pre` stands for.
///
/// Source: the patterns of llama.cpp, src/llama-vocab.cpp, in the form in which the families' own tokenizer.json files
/// have them.
struct GGUFWords: Sendable {
    /// `pre_tokenizer` of tokenizer.json.
    let preTokenizer: JSONValue
    /// The family's tokenizer.json composes characters first (NFC); llama.cpp does not.
    let isComposed: Bool
    /// A word that is a token as a whole is that token, whatever the merges say.
    let ignoresMerges: Bool
    /// BOS is put before a text unless the file says otherwise.
    let addsBOS: Bool

    /// Throws `badInput` naming a pre-tokenizer that is not known, with those that are.
    init(_ metadata: Metadata, file: String) throws {
        let name = metadata.string("tokenizer.ggml.pre")
        guard let family = Self.families.first(where: { family in name.map(family.names.contains) ?? false }) else {
            let known = Self.families.flatMap(\.names).joined(separator: ", ")
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.pre is \(name.map { "'\($0)'" } ?? "missing"); known are \(known)")
        }
        preTokenizer = family.style.preTokenizer
        isComposed = family.isComposed
        ignoresMerges = family.ignoresMerges
        addsBOS = family.addsBOS
    }

    private enum Style {
        /// GPT-2's words.
        case gpt2
        /// Every digit apart, then GPT-2's words.
        case digits
        /// The matches of each pattern in turn, and what lies between them.
        case patterns([String])

        var preTokenizer: JSONValue {
            switch self {
            case .gpt2: Self.byteLevel(usesPattern: true)
            case .digits:
                Self.sequence([
                    ["type": .text("Digits"), "individual_digits": .bool(true)], Self.byteLevel(usesPattern: true),
                ])
            case .patterns(let patterns):
                Self.sequence(
                    patterns.map {
                        [
                            "type": .text("Split"), "pattern": ["Regex": .text($0)], "behavior": .text("Isolated"),
                            "invert": .bool(false),
                        ]
                    } + [Self.byteLevel(usesPattern: false)])
            }
        }

        private static func sequence(_ steps: [JSONValue]) -> JSONValue {
            ["type": .text("Sequence"), "pretokenizers": .array(steps)]
        }

        private static func byteLevel(usesPattern: Bool) -> JSONValue {
            [
                "type": .text("ByteLevel"), "add_prefix_space": .bool(false), "trim_offsets": .bool(true),
                "use_regex": .bool(usesPattern),
            ]
        }
    }

    private struct Family {
        let names: [String]
        let style: Style
        var isComposed = false
        var ignoresMerges = false
        var addsBOS = false
    }

    private static let families = [
        Family(names: ["gpt-2", "phi-2", "jais"], style: .gpt2),
        Family(names: ["mpt", "olmo"], style: .gpt2, isComposed: true),
        Family(names: ["smollm", "starcoder", "refact", "codeshell", "minerva-7b"], style: .digits),
        Family(
            names: ["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"],
            style: .patterns([words(digits: "{1,3}")]), ignoresMerges: true, addsBOS: true),
        Family(names: ["smaug-bpe", "dbrx"], style: .patterns([words(digits: "{1,3}")])),
        Family(names: ["qwen2", "deepseek-r1-qwen"], style: .patterns([words(digits: "")]), isComposed: true),
        Family(names: ["tekken"], style: .patterns([casedWords]), ignoresMerges: true, addsBOS: true),
        Family(
            names: ["deepseek-coder"],
            style: .patterns([#"[\r\n]"#, #"\s?\p{L}+"#, #"\s?\p{P}+"#, "[一-龥ࠀ-一가-\u{D7FF}]+", #"\p{N}"#])),
    ]

    /// Contractions, letters with one sign before them, so many digits, signs with a space before and line ends behind
    /// them, white space.
    private static func words(digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// The same without contractions, cut before capitals inside a word and with slashes behind signs.
    private static let casedWords =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"#
        + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"#
        + #"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
}
