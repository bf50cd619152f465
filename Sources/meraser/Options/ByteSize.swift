import ArgumentParser

/// A number of bytes as Hugging Face writes it: `5GB`, `800M`, `4096`; powers of 1000.
struct ByteSize: ExpressibleByArgument, CustomStringConvertible {
    /// Bytes, at least 1.
    let count: Int

    init(count: Int) { self.count = count }

    init?(argument: String) {
        var text = argument.uppercased()[...]
        if text.hasSuffix("B") { text.removeLast() }
        var factor = 1.0
        if let unit = text.last, let power = "KMGT".firstIndex(of: unit) {
            for _ in 0...("KMGT".distance(from: "KMGT".startIndex, to: power)) { factor *= 1000 }
            text.removeLast()
        }
        guard let number = Double(text), case let bytes = number * factor, bytes >= 1, bytes < 9e18 else { return nil }
        count = Int(bytes)
    }

    var description: String { count % 1_000_000_000 == 0 ? "\(count / 1_000_000_000)GB" : "\(count)" }
}
