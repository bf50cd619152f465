import Model

/// Writes texts that are matched with another in length and kind: phrases for phrases, Japanese names of animals for such
/// names (IF's target is one), and for all else characters of the same classes.
struct SimilarTextWriter {
    private var phrases: PhraseWriter
    private var random: SplitMix64

    init(seed: UInt64) {
        phrases = PhraseWriter(seed: seed)
        random = SplitMix64(seed: seed ^ 0x7369_6D69)
    }

    /// Another text; white space at both ends as it was.
    ///
    /// - Parameter freely: let go of what is alike, where texts have run out.
    mutating func text(like text: String, freely: Bool = false) -> String {
        let front = text.prefix(while: \.isWhitespace)
        let back = String(text.dropFirst(front.count).reversed().prefix(while: \.isWhitespace).reversed())
        let visible = String(text.dropFirst(front.count).dropLast(back.count))
        return front + other(visible, freely) + back
    }

    private mutating func other(_ text: String, _ freely: Bool) -> String {
        if PhraseWriter.suits(text) { return phrases.text(like: text, freely: freely) }
        if !freely, !text.isEmpty, text.unicodeScalars.allSatisfy({ (0x30A1...0x30FC).contains($0.value) }) {
            let front = Self.fronts[random.index(below: Self.fronts.count)]
            return front + Self.animals[random.index(below: Self.animals.count)]
        }
        var result = ""
        for character in text { result.append(similar(character)) }
        return result
    }

    private mutating func similar(_ character: Character) -> Character {
        guard let scalar = character.unicodeScalars.first else { return character }
        let range: ClosedRange<UInt32>? =
            switch scalar.value {
            case 0x30...0x39: 0x30...0x39
            case 0x41...0x5A: 0x41...0x5A
            case 0x61...0x7A: 0x61...0x7A
            case 0x3041...0x3093: 0x3041...0x3093
            case 0x30A1...0x30F3: 0x30A1...0x30F3
            // The frequent end of the ideographs cannot be told from their numbers: a small neighbourhood.
            case 0x4E00...0x9F9F: scalar.value...min(scalar.value + 32, 0x9F9F)
            case 0xAC00...0xD7A3: 0xAC00...0xD7A3
            case 0x410...0x42F: 0x410...0x42F
            case 0x430...0x44F: 0x430...0x44F
            case 0x3B1...0x3C9: 0x3B1...0x3C9
            default: nil
            }
        guard let range, let first = Unicode.Scalar(range.lowerBound + UInt32(random.index(below: range.count)))
        else { return character }
        return Character(first)
    }

    private static let fronts = split(
        """
        ヤマ ウミ カワ シロ クロ アカ アオ オオ ヒメ ミズ モリ ハリ イワ スナ ユキ ソラ ツキ ヨル アサ ナツ フユ キタ ミナミ トゲ ホシ シマ
        キン ギン ツチ タケ
        """)
    private static let animals = split(
        """
        ネズミ ウサギ キツネ タヌキ イタチ モグラ リス サル クマ オオカミ イヌ ネコ ウマ ウシ ヒツジ ヤギ シカ ブタ ゾウ トラ カメ ヘビ トカゲ
        カエル サメ クジラ イルカ アザラシ タコ イカ カニ エビ クラゲ ワシ タカ フクロウ カラス スズメ ツバメ ツル カモ ハト チョウ トンボ
        """)

    private static func split(_ text: String) -> [String] {
        text.split(whereSeparator: \.isWhitespace).map(String.init)
    }
}
