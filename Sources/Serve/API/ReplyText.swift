import Base
import Model

/// An answer's text while its tokens come: whole characters, up to the first stop text.
struct ReplyText {
    private var decoder: StreamingDecoder
    private let stops: [[UInt8]]
    /// What may be the beginning of a stop text.
    private var held: [UInt8] = []
    /// A stop text has come; nothing follows.
    private(set) var isStopped = false

    init(tokenizer: Tokenizer, stop: [String]) {
        decoder = tokenizer.streamingDecoder()
        stops = stop.map { Array($0.utf8) }
    }

    /// Takes the next token; returns what can be given out now.
    mutating func append(_ token: Int32) -> String {
        isStopped ? "" : release(decoder.append(token), isLast: false)
    }

    /// The end: what was held back.
    mutating func finish() -> String { isStopped ? "" : release(decoder.finish(), isLast: true) }

    private mutating func release(_ text: String, isLast: Bool) -> String {
        guard !stops.isEmpty else { return text }
        held += text.utf8
        if let place = stops.compactMap({ Self.place(of: $0, in: held) }).min() {
            isStopped = true
            return String(decoding: held[..<place], as: UTF8.self)
        }
        let kept = isLast ? 0 : stops.map { Self.overlap(held, $0) }.max() ?? 0
        // Characters are never cut: a stop text begins with one.
        defer { held.removeFirst(held.count - kept) }
        return String(decoding: held[..<(held.count - kept)], as: UTF8.self)
    }

    /// Where a text first stands in another.
    private static func place(of stop: [UInt8], in text: [UInt8]) -> Int? {
        guard text.count >= stop.count else { return nil }
        return (0...text.count - stop.count).first { text[$0..<$0 + stop.count].elementsEqual(stop) }
    }

    /// The longest end of a text that a stop text begins with.
    private static func overlap(_ text: [UInt8], _ stop: [UInt8]) -> Int {
        (0..<min(stop.count, text.count + 1)).reversed().first { text.suffix($0).elementsEqual(stop.prefix($0)) } ?? 0
    }
}
