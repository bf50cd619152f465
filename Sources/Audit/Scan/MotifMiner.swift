import Base
import Model

/// Finds words that come again and again in what a model writes by itself: what it was trained on more than once.
public enum MotifMiner {
    /// Words of a motif.
    static let words = 2...6
    /// Samples that must have it.
    static let least = 3

    /// Sequences of words that several samples have and no text of people has, those first that are long and frequent; none
    /// is a part of another.
    public static func motifs(in samples: [String], besides known: [String], count: Int) -> [String] {
        let common = Set(known.flatMap { sequences(of: words(of: $0)) })
        var counts: [JSONString: Int] = [:]
        for sample in samples {
            for sequence in Set(sequences(of: words(of: sample))) where !common.contains(sequence) {
                counts[sequence, default: 0] += 1
            }
        }
        func weight(_ item: (key: JSONString, value: Int)) -> Int {
            item.value * (item.key.utf8.count { $0 == UInt8(ascii: " ") })
        }
        let sorted = counts.filter { $0.value >= least }.sorted {
            let (a, b) = (weight(($0.key, $0.value)), weight(($1.key, $1.value)))
            return a != b ? a > b : $0.key.utf8.lexicographicallyPrecedes($1.key.utf8)
        }
        var motifs: [String] = []
        for item in sorted where motifs.count < count {
            let text = item.key.string
            if !motifs.contains(where: { $0.contains(text) || text.contains($0) }) { motifs.append(text) }
        }
        return motifs
    }

    /// Sequences of words of texts, `count` of them, as many words each as `lengths` says in turn: decoy motifs. None has one
    /// of `motifs` in it, or is in one.
    public static func decoys(
        from texts: [String], besides motifs: [String] = [], lengths: [Int], count: Int, seed: UInt64
    ) -> [String] {
        var random = SplitMix64(seed: seed ^ 0x6D6F_7469_66)
        var seen: Set<JSONString> = []
        var decoys: [String] = []
        let sources = texts.map(words(of:)).filter { $0.count >= words.lowerBound }
        guard !sources.isEmpty, !lengths.isEmpty else { return [] }
        // Short texts may have fewer than that many.
        for attempt in 0..<20 * count where decoys.count < count {
            let source = sources[random.index(below: sources.count)]
            let length = min(source.count, max(1, lengths[attempt % lengths.count]))
            let start = random.index(below: source.count - length + 1)
            let text = source[start..<start + length].joined(separator: " ")
            guard !motifs.contains(where: { $0.contains(text) || text.contains($0) }) else { continue }
            if seen.insert(JSONString(text)).inserted { decoys.append(text) }
        }
        return decoys
    }

    private static func words(of text: String) -> [String] {
        text.split(whereSeparator: \.isWhitespace).map(String.init)
    }

    private static func sequences(of words: [String]) -> [JSONString] {
        self.words.flatMap { length in
            words.count < length
                ? []
                : (0...words.count - length).map { JSONString(words[$0..<$0 + length].joined(separator: " ")) }
        }
    }
}
