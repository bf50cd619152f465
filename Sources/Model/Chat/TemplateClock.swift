import Foundation

/// `strftime_now` of chat templates, on a fixed date: the same model, data and seed give the same text on every day.
///
/// The date is 26 July 2024, 00:00:00, a Friday: what Llama 3's own templates fall back to where they have no clock.
enum TemplateClock {
    /// Bytes of a format, and of what it gives, at most.
    private static let maximumBytes = 4096

    /// The date in a format of C's `strftime`, as Python's `datetime.strftime` writes it; `%f` is the microsecond, `%z` and
    /// `%Z` are empty. Nil for a format that is too long or holds a zero byte.
    static func text(format: String) -> String? {
        guard format.utf8.count <= maximumBytes, !format.utf8.contains(0) else { return nil }
        var plain = ""
        var isDirective = false
        for scalar in format.unicodeScalars {
            switch (isDirective, scalar) {
            case (false, "%"):
                isDirective = true
                continue
            case (true, "f"): plain += "000000"
            case (true, "z"), (true, "Z"): break
            case (true, _): plain += "%\(scalar)"
            case (false, _): plain.unicodeScalars.append(scalar)
            }
            isDirective = false
        }
        if isDirective { plain += "%" }
        guard !plain.isEmpty else { return "" }
        var date = tm()
        (date.tm_year, date.tm_mon, date.tm_mday, date.tm_wday, date.tm_yday) = (124, 6, 26, 5, 207)
        var buffer = [CChar](repeating: 0, count: maximumBytes)
        // A format that gives nothing, such as `%p` in some languages, is told from one that is too long by a letter.
        let count = strftime(&buffer, buffer.count, "x" + plain, &date)
        guard count > 0 else { return nil }
        return String(decoding: buffer[1..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
