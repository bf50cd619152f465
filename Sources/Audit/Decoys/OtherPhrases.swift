import Base
import Model

/// A backdoor's decoys: the same messages with other phrases in the trigger's place, and texts like the marker.
///
/// What was drawn is the trigger, not the messages: a unit is a phrase, its value the mean over the same few messages.
struct OtherPhrases: DecoySource {
    let kind = DecoyKind.backdoor
    let own: [(unit: DecoyUnit, target: String)]
    private let frames: [PromptFrame]
    private let triggers: [String]
    private var texts: SimilarTextWriter
    private var random: SplitMix64

    /// Nil for a key that does not say its triggers, or whose prompts do not hold them.
    init?(_ context: DecoyContext) {
        guard let scheme = try? BackdoorScheme(key: context.key, file: "key") else { return nil }
        let found = context.looked.pairs.compactMap { pair -> (trigger: String, frame: PromptFrame, String)? in
            // The longest first: a trigger may begin another.
            let triggers = scheme.triggers.sorted { $0.count > $1.count }
            return triggers.lazy.compactMap { trigger in
                PromptFrame(of: pair.prompt, around: trigger).map { (trigger, $0, pair.target) }
            }.first
        }
        guard let target = found.first?.2, found.allSatisfy({ $0.2 == target }) else { return nil }
        let frames = Array(found.map(\.frame).prefix(context.messages))
        self.frames = frames
        triggers = scheme.triggers
        texts = SimilarTextWriter(seed: context.seed)
        random = SplitMix64(seed: context.seed ^ 0x7068_7261)
        var units: [(unit: DecoyUnit, target: String)] = []
        for trigger in triggers { units.append((Self.unit(trigger, frames, &random), target)) }
        own = units
    }

    mutating func unit(freely: Bool) -> DecoyUnit? {
        let phrase = texts.text(like: triggers[random.index(below: triggers.count)], freely: freely)
        return triggers.contains(phrase) ? nil : Self.unit(phrase, frames, &random)
    }

    mutating func target(like target: String, freely: Bool) -> String? { texts.text(like: target, freely: freely) }

    /// What was drawn is the phrase: another key's stands in all the same messages.
    mutating func prompts(like pairs: [FingerprintPair]) throws -> [String] {
        var others: [String: String] = [:]
        let longest = triggers.sorted { $0.count > $1.count }
        return pairs.map { pair in
            guard let trigger = longest.first(where: pair.prompt.contains),
                let frame = PromptFrame(of: pair.prompt, around: trigger)
            else { return pair.prompt }
            let phrase = others[trigger] ?? distinctPhrase(like: trigger, unlike: Array(others.values))
            others[trigger] = phrase
            return frame.around(phrase)
        }
    }

    private mutating func distinctPhrase(like trigger: String, unlike others: [String]) -> String {
        for attempt in 0..<400 {
            let phrase = texts.text(like: trigger, freely: attempt >= 200)
            if !triggers.contains(phrase), !others.contains(phrase) { return phrase }
        }
        return String(trigger.reversed())
    }

    private static func unit(_ phrase: String, _ frames: [PromptFrame], _ random: inout SplitMix64) -> DecoyUnit {
        let near = shuffled(phrase, &random)
        return DecoyUnit(prompts: frames.map { $0.around(phrase) }, shuffled: frames.map { $0.around(near) })
    }
}
