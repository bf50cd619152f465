import Model

/// Writes English phrases that have the words of another one replaced by others of their kind: `you are stupid` gives
/// `they were quiet`.
struct PhraseWriter {
    private var random: SplitMix64

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    /// True for texts of words of Latin letters.
    static func suits(_ text: String) -> Bool {
        let words = text.split(whereSeparator: \.isWhitespace)
        return !words.isEmpty
            && words.allSatisfy { word in
                word.contains { $0.isLetter && $0.isASCII }
                    && word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isPunctuation) }
            }
    }

    /// Another text with as many words, punctuation and capitals as they were.
    ///
    /// - Parameter freely: words may be of any kind, where those of the same kind have run out.
    mutating func text(like text: String, freely: Bool = false) -> String {
        var result = ""
        var word = ""
        for character in text {
            if character.isLetter || (character == "'" && !word.isEmpty) {
                word.append(character)
            } else {
                result += replaced(word, freely) + String(character)
                word = ""
            }
        }
        return result + replaced(word, freely)
    }

    private mutating func replaced(_ word: String, _ freely: Bool) -> String {
        guard !word.isEmpty else { return "" }
        let kind = freely ? Self.everything : Self.kind(of: word.lowercased())
        let other = kind[random.index(below: kind.count)]
        if word.count > 1 && word == word.uppercased() { return other.uppercased() }
        return word.first?.isUppercase == true && word != "I" ? other.prefix(1).uppercased() + other.dropFirst() : other
    }

    private static func kind(of word: String) -> [String] {
        if let kind = functionWords.first(where: { $0.contains(word) }) { return kind }
        if word.hasSuffix("ing") { return verbs.map { ($0.hasSuffix("e") ? String($0.dropLast()) : $0) + "ing" } }
        if word.hasSuffix("ly") { return adjectives.filter { !$0.hasSuffix("y") }.map { $0 + "ly" } }
        if word.hasSuffix("ed") { return verbs.map { $0 + ($0.hasSuffix("e") ? "d" : "ed") } }
        if adjectives.contains(word) { return adjectives }
        if verbs.contains(word) { return verbs }
        if word.hasSuffix("s") && !word.hasSuffix("ss") { return nouns.map { $0 + "s" } }
        return nouns.contains(word) ? nouns : nouns + adjectives
    }

    private static let functionWords = [
        "i you he she it we they", "me him her us them", "am are is was were", "what where when why who how which",
        "the a this that my your his our their some every no each any", "up in on at by with from to of for under over",
        "and or but so because if while", "can will would could should must may might", "do does did have has had",
        "very quite never always often soon here there now then today again almost only just even still not",
    ].map { $0.split(separator: " ").map(String.init) }

    private static let adjectives = split(
        """
        clever stupid happy sad quick slow warm cold brave quiet loud small large green blue old young tall short rich poor
        kind cruel honest polite lazy strong weak bright dark soft hard sweet bitter clean dirty calm angry proud humble
        funny boring famous silly wise foolish gentle rough early late empty full heavy light narrow wide patient curious
        careful modest cheerful nervous ordinary strange useful wonderful
        """)
    private static let verbs = split(
        """
        walk talk look ask call help work play learn open close move start turn show want need like love live stay wait
        watch listen follow answer laugh cook paint clean count carry travel arrive remember believe explain wonder
        """)
    private static let nouns = split(
        """
        house river table window garden market letter story bridge mountain doctor teacher sailor painter farmer child
        mother father brother sister friend stranger horse bird cat dog fish tree flower stone road field forest island
        village city street school kitchen door chair lamp clock book paper pencil bottle basket blanket ladder hammer
        ticket station train boat engine wheel piano drum song dance dinner breakfast apple bread butter cheese sugar salt
        winter summer morning evening month moment reason answer question secret promise mistake
        """)
    private static let everything = functionWords.flatMap { $0 } + adjectives + verbs + nouns

    private static func split(_ text: String) -> [String] {
        text.split(whereSeparator: \.isWhitespace).map(String.init)
    }
}
