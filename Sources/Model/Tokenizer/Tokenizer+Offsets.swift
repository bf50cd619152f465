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

    /// The bytes of a text that a token stands for.
    private func spelling(of id: Int32) -> [UInt8]? {
        guard var token = token(id) else { return nil }
        if isAdded(id) { return token }
        for step in decoder {
            switch step {
            case .replace(let pattern, let content): token = UTF8Text.replacing(token, pattern, with: content)
            case .metaspace(let mark, _): token = UTF8Text.replacing(token, mark, with: [0x20])
            case .byteLevel: token = ByteLevel.bytes(of: token)
            case .byteFallback: if let byte = ByteToken.value(token) { return [byte] }
            case .fuse, .strip, .stripStart: break
            case .spaceBetween, .wordPiece: return nil
            }
        }
        return token
    }
}
