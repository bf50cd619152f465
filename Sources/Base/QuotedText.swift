/// A value of a file, a flag or a name, in quotes for an error: whole if it is short, else its beginning, its end and its
/// length. Control characters are escaped when the error is shown.
public func quoted(_ text: String) -> String {
    let limit = 120
    guard text.utf8.count > limit else { return "'\(text)'" }
    return "'\(text.shortened(to: limit))' (\(text.utf8.count) bytes)"
}

/// The same of UTF-8; what is ill-formed becomes U+FFFD.
public func quoted(_ bytes: [UInt8]) -> String { quoted(String(decoding: bytes, as: UTF8.self)) }

extension String {
    /// This text, or its beginning and its end with `…` between them where it has more than `limit` scalars. Scalars and not
    /// characters: one character may be as long as its author likes.
    public func shortened(to limit: Int) -> String {
        guard utf8.count > limit, unicodeScalars.count > limit else { return self }
        let tail = limit / 4
        var result = String.UnicodeScalarView(unicodeScalars.prefix(limit - tail - 1))
        result.append("…")
        result.append(contentsOf: unicodeScalars.suffix(tail))
        return String(result)
    }
}
