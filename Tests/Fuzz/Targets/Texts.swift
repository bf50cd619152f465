import Base
import Model
import Quant

extension FuzzTarget {
    /// Readers of what makes texts into tokens.
    static let texts = [tokenizer, pattern, sentencePiece, template]

    private static let vocabulary =
        "\"vocab\": {\"<unk>\": 0, \"a\": 1, \"b\": 2, \"ab\": 3, \"\u{120}\": 4, \"c\": 5}, \"merges\": [\"a b\"]"

    private static let tokenizer = FuzzTarget(
        "tokenizer", maximumLength: 8192,
        texts: [
            """
            {"version": "1.0", "added_tokens": [{"id": 7, "content": "<s>", "single_word": false, "lstrip": true, "rstrip": false,
            "normalized": false, "special": true}], "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}, {"type": "Prepend", "prepend": "a"}]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\\\s+(?!\\\\S)|\\\\p{L}+"},
            "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true}]}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>",
            "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>",
            "ids": [7], "tokens": ["<s>"]}}}, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "unk_token": "<unk>",
            "byte_fallback": false, \(vocabulary)}}
            """,
            """
            {"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##",
            "cleanup": true}, "model": {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {"<unk>": 0, "a": 1, "##b": 2}}}
            """,
            """
            {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": true},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.5], ["ab", -2.5], ["\u{2581}", -3]]}}
            """,
        ],
        read: { bytes, _ in try use(try Tokenizer(json: bytes, config: nil)) })

    /// A pattern of tokenizer.json, alone.
    private static let pattern = FuzzTarget(
        "pattern", maximumLength: 256,
        texts: [
            #"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
            #"[^\W\d_a-f]+?|\x{41}|(?:a|b)*$"#,
        ],
        read: { bytes, _ in
            guard let text = String(validating: bytes, as: UTF8.self) else { return }
            let split: JSONValue = [
                "type": .text("Split"), "pattern": ["Regex": .text(text)], "behavior": .text("Isolated"),
                "invert": .bool(false),
            ]
            let model = #"{"type": "BPE", \#(vocabulary)}"#
            let json = #"{"pre_tokenizer": \#(split.serialized()), "model": \#(model)}"#
            try use(try Tokenizer(json: Array(json.utf8), config: nil))
        })

    /// tokenizer.model, made by hand as protobuf has it: pieces with their scores and types, and how it was trained.
    private static let sentencePiece = FuzzTarget(
        "sentencepiece",
        seeds: { _ in
            func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(bytes.count)] + bytes }
            let pieces =
                [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("\u{2581}", 1), ("a", 1), ("b", 1), ("ab", 1)]
                as [(String, UInt8)]
            let rows = pieces.flatMap { field(1, field(1, Array($0.utf8)) + [0x15, 0, 0, 0x80, 0xBF, 0x18, $1]) }
            return [UInt8(1), 2].map { type in
                rows + field(2, [0x18, type, 0xC0, 2, 0, 0xC8, 2, 1, 0xD0, 2, 2])
            }
        },
        read: { bytes, _ in
            try use(try Tokenizer(store: TextFiles(files: ["tokenizer.model": bytes])))
        })

    private static let template = FuzzTarget(
        "template",
        texts: [
            """
            {{ bos_token }}{% for m in messages if m.role != 'x' %}{%- if loop.first and m['role'] == 'user' -%}<|{{ m.role | upper }}|>
            {{ m.content | trim }}{% elif not loop.last %}{{ '\\n' ~ m.content[1:-1] }}{% else %}{% generation %}{{ m.content }}
            {% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}
            """,
            """
            {% set ns = namespace(i=0, text='') %}{% for i in range(3) %}{% set ns.i = ns.i + i * 2 %}{% endfor %}
            {%- set x = ['a', 'b'] | join(',') %}{{ x.split(',')[0].replace('a', 'b') }}{{ messages | tojson(indent=2) }}
            {{ ns.i // 2 % 3 }}{% if tools is defined and tools is not none %}{{ raise_exception('no') }}{% endif %}
            {{ dict(a=1).items() | list }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
            {{ strftime_now('%d %b %Y') }}{{ 'a' in 'abc' and 1 < 2 or none }}{# c #}{{ 'x' if false else 1.5 }}
            """,
        ],
        read: { bytes, _ in
            guard let source = String(validating: bytes, as: UTF8.self) else { return }
            let template = try ChatTemplate(
                source: source, specialTokens: JSONObject([(key: "bos_token", value: .text("<s>"))]))
            let conversation = Conversation([
                ChatMessage(role: "system", content: "s"), ChatMessage(role: "user", content: "a b"),
                ChatMessage(role: "assistant", content: "c"),
            ])
            _ = try template.render(conversation, addGenerationPrompt: true)
            _ = try template.answers(of: conversation)
        })
}

/// Text files that lie in memory.
private struct TextFiles: TextFileSource {
    let path = "m"
    let files: [String: [UInt8]]

    func textFile(_ name: String) -> [UInt8]? { files[name] }
}

/// Encodes some texts and decodes what came of them.
func use(_ tokenizer: Tokenizer) throws {
    for text in ["ab <s> a\u{301}\u{65E5} 123\r\n  b", String(repeating: "a b\n", count: 20), ""] {
        let tokens = tokenizer.encode(text)
        _ = tokenizer.decode(tokens)
        _ = tokenizer.decode(tokens, skipSpecialTokens: true)
        _ = tokenizer.endOffsets(of: tokens, in: text)
    }
}
