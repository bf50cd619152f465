/// A text that is being cut into the words inside which tokens merge: its bytes, and where the words in it are.
///
/// Cutting changes places only; steps that change the text write it anew, once.
struct CutText {
    /// A word of the text.
    struct Word: Equatable {
        var start: Int
        var end: Int
        /// It begins where the whole input begins.
        var isFirst: Bool

        var range: Range<Int> { start..<end }
    }

    /// Valid UTF-8.
    private(set) var bytes: [UInt8]
    /// In order, not empty, apart from each other.
    private(set) var words: [Word]

    /// A text that is one word; `isFirst`: it begins the input.
    init(_ bytes: [UInt8], isFirst: Bool) {
        self.bytes = bytes
        words = bytes.isEmpty ? [] : [Word(start: 0, end: bytes.count, isFirst: isFirst)]
    }

    /// Cuts every word: `cut` gets a word and the whole text, and adds the pieces.
    mutating func cut(_ cut: (Word, UnsafeBufferPointer<UInt8>, inout WordSink) -> Void) {
        var sink = WordSink(capacity: words.count + bytes.count / 4)
        bytes.withUnsafeBufferPointer { text in
            for word in words { cut(word, text, &sink) }
        }
        words = sink.words
    }

    /// Writes every word anew: `write` gets a word and the whole text, and appends what stands for the word.
    mutating func rewrite(_ write: (Word, UnsafeBufferPointer<UInt8>, inout [UInt8]) -> Void) {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + bytes.count / 2 + 8)
        bytes.withUnsafeBufferPointer { text in
            for index in words.indices {
                let start = result.count
                write(words[index], text, &result)
                words[index].start = start
                words[index].end = result.count
            }
        }
        bytes = result
        words.removeAll { $0.start == $0.end }
    }
}

/// Takes the pieces of a text that is cut.
struct WordSink {
    fileprivate(set) var words: [CutText.Word] = []

    init(capacity: Int) { words.reserveCapacity(capacity) }

    /// Adds a piece of a word; an empty one is left out.
    @inline(__always)
    mutating func add(_ start: Int, _ end: Int, of word: CutText.Word) {
        guard start < end else { return }
        words.append(CutText.Word(start: start, end: end, isFirst: word.isFirst && start == word.start))
    }
}
