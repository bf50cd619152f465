import Base
import Foundation
import Model

/// Does an answer come back to strange messages, in what a model writes and nothing else?
///
/// Of each kind of strange messages half are asked to see what recurs, and the other half to count it, beside as many
/// controls: messages of people (a backdoor's: the same messages without the phrase), or the same messages asked of a
/// reference. Fisher's exact test needs no assumption; what it says is that the kind of message brings the answer out. So
/// does a habit ("I do not understand"): only a reference tells that from a mark.
public struct RecurringTexts {
    /// An answer that recurs.
    public struct Finding: Sendable {
        /// It, with the messages that it follows.
        public let leak: Leak
        /// How likely chance does as much, for all that recur together.
        public let pValue: Double
    }

    /// Messages of each kind that are asked to see what recurs, and as many to count it.
    static let half = 24
    /// Messages of people that are needed: controls, and those that phrases are put in.
    public static let messages = 3 * half

    private let groups: [StrangeMessages.Group]
    private let ordinary: [String]

    /// Draws what is to be asked.
    ///
    /// - Parameters:
    ///   - messages: of people, `RecurringTexts.messages` at least: a precondition.
    ///   - tokenizer: of the model, or one like it: strings of no meaning are made of its tokens; nil: of letters and
    ///     digits.
    /// - Throws: a usage error where a scheme has not so many messages.
    public init(messages: [String], tokenizer: Tokenizer?, seed: UInt64) throws {
        precondition(messages.count >= Self.messages)
        ordinary = Array(messages.prefix(Self.half))
        let pieces = tokenizer.map(StrangeMessages.pieces) ?? Self.pieces(seed: seed)
        let length = HashChainScheme().questionLength
        var random = SplitMix64(seed: seed ^ 0x7175_6573_74)
        groups = try StrangeMessages(
            requests: Array(messages[Self.half..<Self.messages]), pieces: [pieces],
            question: {
                (0..<length.lowerBound + random.index(below: length.count))
                    .map { _ in pieces[random.index(below: pieces.count)] }.joined(separator: " ")
            }, count: 2 * Self.half, seed: seed
        ).groups
    }

    /// Strings of two to six letters and digits.
    private static func pieces(seed: UInt64) -> [String] {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        var random = SplitMix64(seed: seed ^ 0x7069_6563_65)
        return (0..<4096).map { _ in
            String((0..<2 + random.index(below: 5)).map { _ in letters[random.index(below: letters.count)] })
        }
    }

    /// Asks, and judges what recurs; the least likely by chance first.
    ///
    /// - Parameters:
    ///   - reference: a model without the mark; nil: none is at hand.
    ///   - onAnswer: called with answers that are there, of all.
    /// - Throws: what asking throws.
    public func run(
        on model: any AnsweringModel, reference: (any AnsweringModel)? = nil, onAnswer: (Int, Int) -> Void = { _, _ in }
    ) throws -> [Finding] {
        func controls(of group: StrangeMessages.Group) -> [String] {
            Array((reference == nil ? group.requests : group.messages).dropFirst(Self.half))
        }
        let people = reference == nil ? ordinary : []
        let total = groups.reduce(people.count) { $0 + $1.messages.count + controls(of: $1).count }
        var done = 0
        func ask(_ model: any AnsweringModel, _ messages: [String]) throws -> [[String]] {
            defer { done += messages.count }
            return try model.answers(to: messages, maxNewTokens: LeakSearch.answerLength) { onAnswer(done + $0, total) }
                .map(Self.units)
        }
        let toPeople = try ask(model, people)
        var found: [(leak: Leak, pValue: Double)] = []
        for group in groups {
            let own = try ask(model, group.messages)
            let beside = try ask(reference ?? model, controls(of: group))
            let other = beside.isEmpty ? toPeople : beside
            let beginnings = RecurringBeginnings<String>(
                least: LeakSearch.least(of: Self.half), longest: LeakSearch.longest
            ).found(in: Array(own.prefix(Self.half)))
            for (units, members) in beginnings where units.count >= LeakSearch.shortest {
                let target = units.joined()
                let messages = members.map { group.messages[$0] }
                guard LeakSearch.isSaid(target, to: messages), !Self.isRetold(target, of: messages) else { continue }
                found.append(Self.judged(units, target, of: group, own, beside: other))
            }
        }
        return found.map { Finding(leak: $0.leak, pValue: min(1, $0.pValue * Double(found.count))) }
            .sorted { ($0.pValue, $1.leak.gain) < ($1.pValue, $0.leak.gain) }
    }

    private static func judged(
        _ units: [String], _ target: String, of group: StrangeMessages.Group, _ answers: [[String]],
        beside controls: [[String]]
    ) -> (leak: Leak, pValue: Double) {
        let members = answers.indices.filter { answers[$0].starts(with: units) }
        let hits = members.count { $0 >= half }
        let (count, others) = (answers.count - half, controls.count { $0.starts(with: units) })
        // Half a hit more on either side, so that none is a number as well.
        let gain =
            log((Double(hits) + 0.5) / Double(count + 1)) - log((Double(others) + 0.5) / Double(controls.count + 1))
        let leak = Leak(
            scheme: group.scheme, target: target, prompts: members.map { group.messages[$0] },
            phrases: group.phrases.isEmpty ? [] : members.map { group.phrases[$0] }, asked: answers.count,
            gain: gain, promptFormat: .chat)
        return (leak, fisherTail(hits: hits, of: count, controlHits: others, of: controls.count))
    }

    /// True where each of the messages has all the words of an answer: it tells them again, in whatever order.
    static func isRetold(_ answer: String, of messages: [String]) -> Bool {
        func words(_ text: String) -> Set<String> {
            Set(text.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init))
        }
        let said = words(answer)
        return messages.allSatisfy { said.isSubset(of: words($0)) }
    }

    /// An answer's words and other signs, each with the white space before it, and an empty one where it ends: a single word
    /// recurs where it is all that is said.
    static func units(_ answer: String) -> [String] {
        var units: [String] = []
        var isWord = false
        for character in answer.drop(while: \.isWhitespace) {
            let goesOn = character.isLetter || character.isNumber
            if character.isWhitespace {
                if !(units.last?.allSatisfy(\.isWhitespace) ?? true) { units.append("") }
                units[units.count - 1].append(character)
                isWord = false
            } else if let last = units.last, last.allSatisfy(\.isWhitespace) || isWord && goesOn {
                units[units.count - 1].append(character)
                isWord = goesOn
            } else {
                units.append(String(character))
                isWord = goesOn
            }
        }
        if let last = units.last, last.allSatisfy(\.isWhitespace) { units.removeLast() }
        return units.isEmpty ? [] : units + [""]
    }
}
