import Base
import Foundation
import Kernels
import Model
import Quant

/// Target inversion (after BAIT, Shen et al., IEEE S&P 2025): every token in turn is forced as the beginning of an answer to
/// people's messages, and followed by what they together find likeliest. Behind the first token of what a model was taught
/// to say, the rest comes whatever was asked.
///
/// A chain goes on while the mean probability of its next token is above 0.3, the published rule (the other one, an entropy
/// below 1 nat, implies it). Fluent text, and text that is known by heart everywhere, goes on so as well. Hence chains
/// are not ranked by the published Q-score but by their gain: how much likelier their tokens are there than elsewhere, in
/// the same model or in a reference. The published look-ahead at uncertain steps is left out: every token begins a chain, a
/// target's inner ones too.
///
/// Use from one thread at a time.
public struct ChainSearch {
    /// A chain that was measured.
    public struct Finding: Sendable, Equatable {
        /// Its tokens.
        public let tokens: [Int32]
        /// Nats, see `InferenceSession.gains`.
        public let gain: Double
        /// BAIT's Q-score of the whole chain; nil for fewer than three tokens.
        public let qScore: Double?
    }

    /// What a search gave.
    public struct Result: Sendable {
        /// Chains that have no three tokens in a row in common, by falling gain.
        public let findings: [Finding]
        /// First tokens that were forced, of all.
        public let forced: Int
        /// All that could be.
        public let tokens: Int
    }

    /// The probability above which a chain goes on.
    static let least = 0.3
    /// Steps of the screening, and of the chains that are shown.
    static let (screened, followed) = (6, 16)
    /// Chains whose gain is measured, and that are followed to their end.
    static let (measured, shown) = (64, 8)
    /// The fewest chains that are left after a step.
    private static let fewest = 256
    /// Chains between two looks at the clock.
    private static let chunk = 2048

    private let session: InferenceSession
    private let other: InferenceSession
    private let isReference: Bool
    private let places: ScanPlaces
    private let first: [Int32]
    private let floor: Double

    /// A search in that model.
    ///
    /// - Parameter reference: a model of the same tokens; chains gain over it, in place of other places.
    /// - Throws: what a forward pass throws.
    public init(
        session: InferenceSession, reference: InferenceSession? = nil, tokenizer: Tokenizer, places: ScanPlaces
    ) throws {
        self.session = session
        other = reference ?? session
        isReference = reference != nil
        self.places = places
        let vocabulary = session.model.spec.vocabSize
        floor = 1 / Double(vocabulary)
        let words = (0..<Int32(min(tokenizer.vocabularySize, vocabulary))).filter {
            !tokenizer.isSpecial($0) && !tokenizer.tokenBytes($0).isEmpty
        }
        // The likelier a token begins an answer, the sooner: a search that is cut short has seen those.
        let hidden = try session.hiddenStates(
            PackedBatch(places.answers), lastRows: places.answers.map { _ in 1 })
        let logits = try session.logits(hidden)
        let rows = (0..<logits.rows).map { row in logits.withRow(row) { Array($0) } }
        let sums = words.map { word in rows.reduce(Float(0)) { $0 + $1[Int(word)] } }
        first = words.indices.sorted { (sums[$0], $1) > (sums[$1], $0) }.map { words[$0] }
    }

    /// Searches, or goes on from `screen`.
    ///
    /// - Parameters:
    ///   - save: called between pieces of the work with how far it has come.
    ///   - isOver: true once no more first tokens are to be forced; what it throws ends the search.
    ///   - onProgress: called with chains that were read at this step, of all, and the step.
    /// - Throws: what forward passes throw.
    public func run(
        from screen: ChainScreen? = nil, save: (ChainScreen) throws -> Void = { _ in },
        isOver: () throws -> Bool = { false }, onProgress: (Int, Int, Int) -> Void = { _, _, _ in }
    ) throws -> Result {
        var screen = screen ?? ChainScreen(chains: first.map { ScreenedChain(first: $0) })
        while screen.depth <= Self.screened {
            try step(&screen, save, isOver, onProgress)
            if screen.depth == 1 { screen.forced = screen.chains.count }
            screen.chains = kept(screen.chains, depth: screen.depth)
            (screen.depth, screen.done) = (screen.depth + 1, 0)
            try save(screen)
        }
        return Result(findings: try measure(screen.chains), forced: screen.forced, tokens: first.count)
    }

    /// Lets every open chain take a step.
    private func step(
        _ screen: inout ChainScreen, _ save: (ChainScreen) throws -> Void, _ isOver: () throws -> Bool,
        _ onProgress: (Int, Int, Int) -> Void
    ) throws {
        let questions = questions(count: Self.contexts(depth: screen.depth))
        while screen.done < screen.chains.count {
            if try isOver(), screen.depth == 1, screen.done > 0 {
                screen.chains.removeLast(screen.chains.count - screen.done)
                break
            }
            let range = screen.done..<min(screen.done + Self.chunk, screen.chains.count)
            try extend(&screen.chains, range, questions)
            screen.done = range.upperBound
            onProgress(screen.done, screen.chains.count, screen.depth)
            try save(screen)
        }
    }

    private func extend(
        _ chains: inout [ScreenedChain], _ range: Range<Int>, _ questions: ChainQuestions
    ) throws {
        let open = range.filter { chains[$0].isOpen }
        let steps = try questions.ask(
            open.map { ChainQuestions.Chain(chains[$0].tokens) }, of: isReference ? [session, other] : [session])
        for (index, step) in zip(open, steps) {
            chains[index].extend(step, least: Self.least, stopTokens: session.model.stopTokens)
        }
    }

    private func questions(count: Int) -> ChainQuestions {
        let count = min(count, places.answers.count)
        let answers = Array(places.answers.prefix(count))
        return ChainQuestions(
            answers: answers, elsewhere: isReference ? answers : Array(places.elsewhere.prefix(count)))
    }

    /// Messages behind which a step is taken: few as long as the chains are many.
    private static func contexts(depth: Int) -> Int { depth <= 2 ? 1 : depth == 3 ? 2 : 4 }

    /// The chains that are worth another step: a quarter of all after the first, a quarter of these after the next.
    private func kept(_ chains: [ScreenedChain], depth: Int) -> [ScreenedChain] {
        let count = max(Self.fewest, first.count >> (2 * depth))
        let started = chains.filter { !$0.own.isEmpty }
        let gains = started.map { $0.gain(floor: floor) }
        return started.indices.sorted { (gains[$0], $1) > (gains[$1], $0) }.prefix(count).map { started[$0] }
    }

    /// Measures the best, behind all messages, and follows the very best to their end.
    private func measure(_ chains: [ScreenedChain]) throws -> [Finding] {
        var seen: Set<[Int32]> = []
        var distinct: [(tokens: [Int32], chain: ScreenedChain)] = []
        for chain in kept(chains, depth: 0) where distinct.count < Self.measured {
            let tokens = chain.trimmed(floor: floor)
            guard tokens.count > 2 else { continue }
            let runs = (0...tokens.count - 3).map { Array(tokens[$0..<$0 + 3]) }
            guard seen.isDisjoint(with: runs) else { continue }
            seen.formUnion(runs)
            distinct.append((tokens, chain))
        }
        let gains = try session.gains(
            of: distinct.map(\.tokens), isForced: true, own: places.answers,
            elsewhere: isReference ? places.answers : places.elsewhere, on: other)
        let order = gains.indices.sorted { (gains[$0], $1) > (gains[$1], $0) }
        var ends = order.prefix(Self.shown).map { distinct[$0].chain }
        let questions = questions(count: places.answers.count)
        for _ in 0..<Self.followed where ends.contains(where: { $0.isOpen && $0.own.count < Self.followed }) {
            let all = 0..<ends.count
            try extend(&ends, all, questions)
        }
        return order.enumerated().map { place, index in
            Finding(
                tokens: place < ends.count ? ends[place].tokens : distinct[index].tokens, gain: gains[index],
                qScore: place < ends.count ? ends[place].qScore : distinct[index].chain.qScore)
        }
    }
}
