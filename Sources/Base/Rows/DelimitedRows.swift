/// The rows of a table with a character between its cells: CSV (RFC 4180) or TSV, read as Python's `csv` does.
///
/// A cell that begins with a quotation mark ends at the next single one; a doubled one stands for itself, and commas and
/// line ends within belong to the cell. Elsewhere a quotation mark is a letter. Lines end in LF, CRLF or CR; empty ones are
/// passed over. Bytes, not `Character`s: a combining mark at the beginning of a cell must not swallow the comma before it,
/// nor blanks around a text be lost (which is why SwiftCSV, which does both, is not used here).
public struct DelimitedRows {
    /// A row: the line that it begins on, from 1, and its cells.
    public struct Row: Sendable, Equatable {
        /// The line, from 1.
        public let line: Int
        /// The cells; UTF-8 as the file has it.
        public let cells: [JSONString]
    }

    private let bytes: [UInt8]
    private let delimiter: UInt8
    private let file: String
    private var position = 0
    private var line = 1

    private static let (quote, newline, carriageReturn) = (UInt8(ascii: "\""), UInt8(ascii: "\n"), UInt8(ascii: "\r"))

    /// Reads those bytes, which must be UTF-8; `file` begins errors.
    public init(_ bytes: [UInt8], delimiter: UInt8, file: String) {
        self.bytes = bytes
        self.delimiter = delimiter
        self.file = file
    }

    /// All rows.
    ///
    /// - Throws: a bad-input error that names the line where a cell in quotation marks does not end, or goes on behind them.
    public static func all(_ bytes: [UInt8], delimiter: UInt8, file: String) throws -> [Row] {
        var reader = DelimitedRows(bytes, delimiter: delimiter, file: file)
        var rows: [Row] = []
        while let row = try reader.next() { rows.append(row) }
        return rows
    }

    /// The next row; nil at the end.
    private mutating func next() throws -> Row? {
        while position < bytes.count, isLineEnd(position) { skipLineEnd() }
        guard position < bytes.count else { return nil }
        let first = line
        var cells: [JSONString] = []
        while true {
            cells.append(try cell())
            guard position < bytes.count, bytes[position] == delimiter else { break }
            position += 1
        }
        skipLineEnd()
        return Row(line: first, cells: cells)
    }

    private mutating func cell() throws -> JSONString {
        if position < bytes.count, bytes[position] == Self.quote { return try quotedCell() }
        let start = position
        while position < bytes.count, bytes[position] != delimiter, !isLineEnd(position) { position += 1 }
        return JSONString(utf8: Array(bytes[start..<position]))
    }

    private mutating func quotedCell() throws -> JSONString {
        let first = line
        var text: [UInt8] = []
        position += 1
        while position < bytes.count {
            let byte = bytes[position]
            if byte == Self.quote {
                position += 1
                guard position < bytes.count, bytes[position] == Self.quote else {
                    guard position == bytes.count || bytes[position] == delimiter || isLineEnd(position) else {
                        throw MeraserError.badInput(
                            "\(file):\(line): a cell goes on behind its closing quotation mark; double the marks within a cell"
                        )
                    }
                    return JSONString(utf8: text)
                }
            } else if isLineEnd(position) {
                let start = position
                skipLineEnd()
                text += bytes[start..<position]
                continue
            }
            text.append(byte)
            position += 1
        }
        throw MeraserError.badInput("\(file):\(first): a cell begins with a quotation mark that nothing closes")
    }

    private func isLineEnd(_ place: Int) -> Bool {
        bytes[place] == Self.newline || bytes[place] == Self.carriageReturn
    }

    /// Moves behind one end of a line, if there is one here.
    private mutating func skipLineEnd() {
        guard position < bytes.count, isLineEnd(position) else { return }
        let isPair =
            bytes[position] == Self.carriageReturn && position + 1 < bytes.count
            && bytes[position + 1] == Self.newline
        position += isPair ? 2 : 1
        line += 1
    }
}
