/// The values of a `.jsonl` file: one JSON value per line, lines of whitespace skipped.
///
/// A line follows the rules of ``JSONValue/parse(_:file:maximumBytes:)-([UInt8],_,_)``; errors name the line.
public struct JSONLines: Sendable {
    private let bytes: [UInt8]
    private let file: String
    private var position = 0
    private var line = 0

    /// Reads those bytes; `file` is the name that errors show.
    public init(_ bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    /// The next value with its line number (from 1); nil at the end.
    public mutating func next() throws -> (line: Int, value: JSONValue)? {
        while position < bytes.count {
            let start = position
            let end = bytes.withUnsafeBufferPointer { buffer in
                buffer[start...].firstIndex(of: 0x0A) ?? buffer.count
            }
            position = end + 1
            line += 1
            let number = line
            let name = file
            let value: JSONValue? = try bytes.withUnsafeBufferPointer { buffer in
                let text = UnsafeBufferPointer(rebasing: buffer[start..<end])
                if text.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { return nil }
                return try JSONValue.parse(
                    text, file: name, firstLine: number, maximumBytes: JSONValue.defaultMaximumBytes)
            }
            if let value { return (number, value) }
        }
        return nil
    }

    /// All remaining values with their line numbers.
    public mutating func all() throws -> [(line: Int, value: JSONValue)] {
        var result: [(line: Int, value: JSONValue)] = []
        while let entry = try next() { result.append(entry) }
        return result
    }
}
