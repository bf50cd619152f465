import Base
import CYaml

/// The events of a YAML stream one by one: libyaml's parser, which Yams brings.
///
/// The bytes must outlive it. Errors (`badInput`) name file and line.
final class YAMLEvents {
    /// What the stream holds next.
    enum Event {
        case documentStart
        case alias(String)
        /// `isPlain`: without quotes, so that the text may stand for a number or a truth value.
        case scalar(String, isPlain: Bool, anchor: String?)
        case sequenceStart(anchor: String?)
        case mappingStart(anchor: String?)
        /// The end of a sequence, a mapping or a document.
        case other
        case streamEnd

        /// True where a sequence or a mapping ends.
        var isEnd: Bool {
            if case .other = self { true } else { false }
        }
    }

    private let file: String
    private var parser = yaml_parser_t()
    /// Where the last event began, from 1.
    private var line = 1

    init(_ bytes: UnsafeBufferPointer<UInt8>, file: String) throws {
        self.file = file
        guard yaml_parser_initialize(&parser) == 1 else {
            throw MeraserError(.outOfMemory, "\(file): no memory for a YAML parser")
        }
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(&parser, bytes.baseAddress, bytes.count)
    }

    deinit { yaml_parser_delete(&parser) }

    /// The next event. Errors: what is no YAML, or has a tag other than `!!str` (nothing here would heed it).
    func next() throws -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(&parser, &event) == 1 else {
            line = parser.problem_mark.line + 1
            throw error("invalid YAML: \(parser.problem.map { String(cString: $0) } ?? "not readable")")
        }
        defer { yaml_event_delete(&event) }
        line = event.start_mark.line + 1
        switch event.type {
        case YAML_DOCUMENT_START_EVENT:
            return .documentStart
        case YAML_ALIAS_EVENT:
            return .alias(Self.text(event.data.alias.anchor) ?? "")
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            let tag = Self.text(scalar.tag)
            try refuse(tag, except: ["!", "tag:yaml.org,2002:str"])
            let isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE && tag == nil
            return .scalar(text, isPlain: isPlain, anchor: Self.text(scalar.anchor))
        case YAML_SEQUENCE_START_EVENT:
            try refuse(Self.text(event.data.sequence_start.tag), except: ["!", "tag:yaml.org,2002:seq"])
            return .sequenceStart(anchor: Self.text(event.data.sequence_start.anchor))
        case YAML_MAPPING_START_EVENT:
            try refuse(Self.text(event.data.mapping_start.tag), except: ["!", "tag:yaml.org,2002:map"])
            return .mappingStart(anchor: Self.text(event.data.mapping_start.anchor))
        case YAML_STREAM_END_EVENT, YAML_NO_EVENT:
            return .streamEnd
        default:
            return .other
        }
    }

    /// An error at the last event.
    func error(_ what: String) -> MeraserError { .badInput("\(file):\(line): \(what)") }

    /// The error for a stream without a document.
    func empty() -> MeraserError { .badInput("\(file): empty, expected YAML") }

    private func refuse(_ tag: String?, except known: [String]) throws {
        guard let tag, !known.contains(tag) else { return }
        throw error("the tag \(quoted(tag)) is not supported; write the value without it")
    }

    private static func text(_ characters: UnsafeMutablePointer<yaml_char_t>?) -> String? {
        characters.map { String(cString: $0) }
    }
}
