import Base

/// How byte-level BPE cuts a text into the words inside which tokens merge: what `tokenizer.ggml.pre` stands for.
///
/// Source: the patterns of llama.cpp, src/llama-vocab.cpp, in the form in which the families' own tokenizer.json files
/// have them.
public struct GGUFWords: Sendable {
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

    /// The names of the families that cut as that `pre_tokenizer` of tokenizer.json does come first, with the same
    /// `ignore_merges` before others; then those of all others, which may cut alike though they say it otherwise. One
    /// name a family.
    public static func names(like preTokenizer: JSONValue, ignoresMerges: Bool) -> [String] {
        let wanted = Cut(preTokenizer)
        let ranked = families.enumerated().sorted { a, b in
            func rank(_ family: Family) -> Int {
                (Cut(family.style.preTokenizer) == wanted ? 0 : 2) + (family.ignoresMerges == ignoresMerges ? 0 : 1)
            }
            return (rank(a.element), a.offset) < (rank(b.element), b.offset)
        }
        return ranked.compactMap(\.element.names.first)
    }

    /// What a pre-tokenizer's steps do to a text, whatever they are called.
    private struct Cut: Equatable {
        private var steps: [String] = []

        init(_ json: JSONValue) {
            switch json["type"]?.string {
            case "Sequence"?: steps = (json["pretokenizers"]?.array ?? []).flatMap { Cut($0).steps }
            case "ByteLevel"?:
                if json["use_regex"]?.bool != false { steps.append("Isolated: " + GGUFWords.gpt2Words) }
                if json["add_prefix_space"]?.bool == true { steps.append("a space first") }
            case "Digits"? where json["individual_digits"]?.bool == true: steps = ["digits"]
            case "Split"?:
                let pattern = json["pattern"]?["Regex"]?.string ?? json["pattern"]?["String"]?.string ?? ""
                steps = ["\(json["behavior"]?.string ?? ""): \(pattern)"]
            default: steps = [json.serialized()]
            }
        }
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
        Family(
            names: [
                "gpt-2", "phi-2", "jais", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0",
                "mellum",
                "exaone4", "trillion", "granite-docling",
            ], style: .gpt2),
        Family(names: ["mpt", "olmo"], style: .gpt2, isComposed: true),
        Family(
            names: [
                "smollm", "starcoder", "refact", "codeshell", "minerva-7b", "command-r", "exaone",
            ], style: .digits),
        Family(
            names: ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
            style: .patterns([words(digits: "{1,3}")]), ignoresMerges: true, addsBOS: true),
        Family(names: ["smaug-bpe", "dbrx", "chatglm-bpe", "glm4"], style: .patterns([words(digits: "{1,3}")])),
        Family(
            names: ["qwen2", "deepseek-r1-qwen", "megrez", "kormo"], style: .patterns([words(digits: "")]),
            isComposed: true),
        Family(names: ["qwen35"], style: .patterns([markedWords]), isComposed: true),
        Family(names: ["stablelm2", "hunyuan", "grok-2"], style: .patterns([words(digits: "")])),
        Family(names: ["tekken"], style: .patterns([casedWords()]), ignoresMerges: true, addsBOS: true),
        Family(
            names: ["gpt-4o", "llama4", "kanana2"],
            style: .patterns([casedWords(ending: "(?i:'s|'t|'re|'ve|'m|'ll|'d)?", digits: "{1,3}")])),
        Family(names: ["seed-coder"], style: .patterns([lineWords])),
        Family(names: ["bailingmoe", "bailingmoe2", "llada-moe"], style: .patterns([singleLineWords])),
        Family(names: ["superbpe"], style: .patterns([#"\p{N}+"#, #"(?=(\d{3})+(?!\d))"#])),
        Family(names: ["poro-chat", "bloom", "gpt3-finnish"], style: .patterns([bloomWords])),
        Family(names: ["viking"], style: .patterns([bloomWords, #"\p{N}"#])),
        Family(names: ["falcon"], style: .patterns([#"[\p{P}\$\+<=>\^~\|`]+"#, gpt2Words, "[0-9][0-9][0-9]"])),
        Family(
            names: ["deepseek-coder"],
            style: .patterns([#"[\r\n]"#, #"\s?\p{L}+"#, #"\s?\p{P}+"#, "[一-龥ࠀ-一가-\u{D7FF}]+", #"\p{N}"#])),
        Family(
            names: ["deepseek-v3", "hunyuan-dense"],
            style: .patterns([#"\p{N}{1,3}"#, "[一-龥\u{3040}-ゟ゠-ヿ]+", deepSeekWords])),
    ]

    /// GPT-2's.
    private static let gpt2Words = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    /// Contractions, letters with one sign before them, so many digits, signs with a space before and line ends behind
    /// them, white space.
    private static func words(digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// The same with marks among the letters and digits apart.
    private static let markedWords =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"#
        + #"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// The same without line ends behind signs.
    private static let lineWords =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"#
        + #"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// The same with every line end apart.
    private static let singleLineWords =
        #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"#
        + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#

    /// Cut before capitals inside a word and with slashes behind signs; contractions end a word, if at all.
    private static func casedWords(ending: String = "", digits: String = "") -> String {
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"# + ending
            + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"# + ending
            + #"|\p{N}"# + digits + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// What lies between white space and punctuation, with a space before it.
    private static let bloomWords = #" ?[^(\s|.,!?…。，、।۔،)]+"#

    /// DeepSeek's: one sign of ASCII before ASCII letters, marks among letters.
    private static let deepSeekWords =
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
        + #"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
}
