import Base

/// What a split does with the matches of its pattern and the text between them.
enum SplitBehavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// `behavior` of a pre-tokenizer.
    init(_ json: JSONValue, file: String) throws {
        let name = try json.string("behavior", in: file)
        guard let behavior = SplitBehavior(rawValue: name) else {
            throw MeraserError.badInput(
                "\(file): pre_tokenizer \(json["type"]?.string ?? "") has behavior \(quoted(name)), expected Removed, "
                    + "Isolated, MergedWithPrevious, MergedWithNext or Contiguous")
        }
        self = behavior
    }
}

/// Cuts one word at the matches in it, which come from left to right. Inverted: the text between the matches counts as
/// matched instead.
struct MatchCutter {
    private let behavior: SplitBehavior
    private let isInverted: Bool
    private let word: CutText.Word
    /// Where the last match ended.
    private var end: Int
    /// The piece that the next one may join.
    private var pending: (start: Int, end: Int)?
    private var wasMatch = false

    init(_ word: CutText.Word, _ behavior: SplitBehavior, isInverted: Bool) {
        (self.word, self.behavior, self.isInverted) = (word, behavior, isInverted)
        end = word.start
    }

    /// Takes the next match, which may be empty.
    @inline(__always)
    mutating func match(_ start: Int, _ stop: Int, to sink: inout WordSink) {
        if end < start { add(end, start, isInverted, to: &sink) }
        add(start, stop, !isInverted, to: &sink)
        end = stop
    }

    /// Takes what is behind the last match.
    mutating func finish(to sink: inout WordSink) {
        if end < word.end { add(end, word.end, isInverted, to: &sink) }
        if let pending { sink.add(pending.start, pending.end, of: word) }
    }

    @inline(__always)
    private mutating func add(_ start: Int, _ stop: Int, _ isMatch: Bool, to sink: inout WordSink) {
        switch behavior {
        case .isolated: return sink.add(start, stop, of: word)
        case .removed:
            if !isMatch { sink.add(start, stop, of: word) }
            return
        case .mergedWithPrevious: join(start, stop, if: isMatch && !wasMatch, to: &sink)
        case .mergedWithNext: join(start, stop, if: !isMatch && wasMatch, to: &sink)
        case .contiguous: join(start, stop, if: isMatch == wasMatch, to: &sink)
        }
        wasMatch = isMatch
    }

    private mutating func join(_ start: Int, _ stop: Int, if joins: Bool, to sink: inout WordSink) {
        if joins, let pending {
            self.pending = (pending.start, stop)
        } else {
            if let pending { sink.add(pending.start, pending.end, of: word) }
            pending = (start, stop)
        }
    }
}
