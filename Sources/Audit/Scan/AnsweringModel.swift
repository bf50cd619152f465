/// A model that is asked in texts alone, wherever it is.
public protocol AnsweringModel {
    /// Its likeliest answers to messages of people, each in a conversation of its own, in order.
    ///
    /// - Parameter onAnswer: called with the number of answers that are there.
    /// - Throws: what asking it throws.
    func answers(to messages: [String], maxNewTokens: Int, onAnswer: (Int) -> Void) throws -> [String]
}
