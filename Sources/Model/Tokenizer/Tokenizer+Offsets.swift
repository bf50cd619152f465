extension Tokenizer {
    /// Where in a text's UTF-8 each of its tokens, made without special ones, ends; nil where the tokens do not spell the
    /// text, as after a normalizer that changes letters.
    ///
    /// A space that the tokenizer puts in has no width.
    public func endOffsets(of tokens: [Int32], in text: String) -> [Int]? {
        let bytes = Array(text.utf8)
        var ends: [Int] = []
        ends.reserveCapacity(tokens.count)
        var place = 0
        for id in tokens {
            guard let spelling = spelling(of: id) else { return nil }
            for byte in spelling {
                if place < bytes.count, bytes[place] == byte {
                    place += 1
                } else if byte != 0x20 {
                    return nil
                }
            }
            ends.append(place)
        }
        return place == bytes.count ? ends : nil
    }

    /// The bytes of a text that a token stands for, a space in front included; nil for an id that is no token, and where that
    /// depends on its neighbours (WordPiece and the like).
    public func spelling(of id: Int32) -> [UInt8]? {
        guard let token = token(id) else { return nil }
        return isAdded(id) ? token : Self.spelling(token, decoder[...])
    }

    private static func spelling(_ token: [UInt8], _ steps: ArraySlice<DecoderStep>) -> [UInt8]? {
        var token = token
        for index in steps.indices {
            switch steps[index] {
            case .replace(let replacement): token = replacement(token)
            case .metaspace(let mark, _): token = UTF8Text.replacing(token, mark, with: [0x20])
            case .byteLevel: token = ByteLevel.bytes(of: token)
            case .byteFallback: if let byte = ByteToken.value(token) { return [byte] }
            case .fuse, .strip, .stripStart: break
            case .whole(let rest): return spelling(token, rest[...])
            case .spaceBetween, .wordPiece, .wordEnd, .ctc: return nil
            }
        }
        return token
    }
}
