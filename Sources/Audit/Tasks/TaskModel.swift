import Model

/// What answers the questions of tasks: a model at hand, or one behind a server.
///
/// `places` name the questions in errors; `onRequest` is called with the number of requests done and of all.
public protocol TaskModel {
    /// How likely every continuation of every question is behind its context, and how many contexts were cut to fit.
    func scores(
        _ questions: [TaskQuestion], places: [String], onRequest: (Int, Int) -> Void
    ) throws -> (scores: [[ContinuationScore]], truncated: Int)

    /// How likely the text of every question is as a whole.
    func textScores(
        _ questions: [TaskQuestion], places: [String], onRequest: (Int, Int) -> Void
    ) throws -> [ContinuationScore]

    /// What is written behind the context of every question, up to the first text that ends it, and how many contexts were
    /// cut to fit.
    func answers(
        _ questions: [TaskQuestion], places: [String], rule: GenerationRule, onRequest: (Int, Int) -> Void
    ) throws -> (texts: [String], truncated: Int)
}

extension GenerationRule {
    /// An answer up to the first text that ends it, of this rule or `end`; an empty text ends nothing.
    public func head(of text: String, alsoBefore end: String = "") -> String {
        (until + [end]).reduce(text) { text, part in
            Self.range(of: part, in: text).map { String(decoding: text.utf8.prefix($0), as: UTF8.self) } ?? text
        }
    }

    /// The bytes in front of a part: a text may end in the middle of what Swift takes for a character.
    static func range(of part: String, in text: String) -> Int? {
        let (all, part) = (Array(text.utf8), Array(part.utf8))
        guard !part.isEmpty, part.count <= all.count else { return nil }
        return (0...all.count - part.count).first { all[$0...].starts(with: part) }
    }
}
