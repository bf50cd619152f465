/// The rows of a data file, whatever it is written in: `.jsonl` (an object a line), `.json` (an array of objects, or lines
/// as well), `.csv` and `.tsv` (a heading, then cells, which are texts). UTF-8, with a byte order mark or without.
public struct RowFile: Sendable {
    /// A row, and what errors call it: `data.json: row 3`, `data.jsonl:3`.
    public typealias Row = (place: String, object: JSONObject)

    /// The rows in file order.
    public let rows: [Row]

    /// Reads a file's contents; `path` decides the format and begins errors.
    ///
    /// - Throws: a bad-input error that names file and line; one for Parquet and for packed files says how they are converted.
    public init(_ bytes: [UInt8], path: String) throws {
        try ForeignFile.refuse(bytes, path: path)
        let name = path.lowercased()
        let text = bytes.withoutByteOrderMark
        if let ending = Self.delimiters.first(where: { name.hasSuffix($0.suffix) }) {
            rows = try Self.table(text, delimiter: ending.delimiter, path: path)
        } else {
            rows = try Self.values(text, path: path, isLines: name.hasSuffix(".jsonl")).map { place, value in
                guard let object = value.object else {
                    throw MeraserError.badInput("\(place) is \(value.kind), expected an object")
                }
                return (place, object)
            }
        }
    }

    /// What stands between the cells of a table, by the end of its name.
    private static let delimiters: [(suffix: String, delimiter: UInt8)] = [
        (".csv", UInt8(ascii: ",")), (".tsv", UInt8(ascii: "\t")),
    ]

    private static func values(
        _ bytes: [UInt8], path: String, isLines: Bool
    ) throws -> [(place: String, value: JSONValue)] {
        let firstByte = bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
        guard !isLines, firstByte == UInt8(ascii: "[") else {
            var lines = JSONLines(bytes, file: path)
            return try lines.all().map { ("\(path):\($0.line)", $0.value) }
        }
        let elements = try JSONValue.parse(bytes, file: path).array ?? []
        return elements.enumerated().map { ("\(path): row \($0 + 1)", $1) }
    }

    /// Rows of a table; the first line names the columns.
    private static func table(_ bytes: [UInt8], delimiter: UInt8, path: String) throws -> [Row] {
        guard bytes.count <= JSONValue.defaultMaximumBytes else {
            throw MeraserError.badInput(
                "\(path): \(bytes.count) bytes, expected at most \(JSONValue.defaultMaximumBytes)")
        }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw MeraserError.badInput("\(path): not valid UTF-8; expected cells of text")
        }
        let lines = try DelimitedRows.all(bytes, delimiter: delimiter, file: path)
        guard let heading = lines.first else { return [] }
        // A table that pandas wrote has its row numbers in a first column without a name.
        let isNumbered = heading.cells.count > 1 && heading.cells[0].utf8.isEmpty
        return try lines.dropFirst().map { line in
            let place = "\(path):\(line.line)"
            guard line.cells.count == heading.cells.count else {
                throw MeraserError.badInput(
                    "\(place): \(line.cells.count) cells, but the heading has \(heading.cells.count) columns")
            }
            var object = JSONObject()
            for index in (isNumbered ? 1 : 0)..<line.cells.count {
                let name = heading.cells[index]
                guard !name.utf8.isEmpty else {
                    throw MeraserError.badInput("\(path):\(heading.line): column \(index + 1) has no name")
                }
                guard object.append(name, .string(line.cells[index])) else {
                    throw MeraserError.badInput(
                        "\(path):\(heading.line): two columns are named \(quoted(name.string))")
                }
            }
            return (place, object)
        }
    }
}

extension [UInt8] {
    /// UTF-8 without the mark that some programs write in front of it.
    public var withoutByteOrderMark: [UInt8] { starts(with: [0xEF, 0xBB, 0xBF]) ? Array(dropFirst(3)) : self }
}

/// Data files of kinds that nothing here reads, told by their first bytes or their name.
private enum ForeignFile {
    /// - Throws: a bad-input error that says what such a file is and how it becomes one that is read.
    static func refuse(_ bytes: [UInt8], path: String) throws {
        func refuse(_ what: String, _ remedy: String) -> MeraserError {
            .badInput("\(path) is \(what), which nothing here reads; \(remedy)")
        }
        let parquet =
            "write it as JSON lines first: python3 -c \"import pandas; pandas.read_parquet('IN.parquet')"
            + ".to_json('OUT.jsonl', orient='records', lines=True)\""
        if path.lowercased().hasSuffix(".parquet") || bytes.starts(with: "PAR1".utf8) {
            throw refuse("a Parquet file", parquet)
        }
        if bytes.starts(with: "ARROW1".utf8) {
            throw refuse("an Arrow file", "write it as JSON lines first (datasets: Dataset.to_json)")
        }
        for (name, start, tool) in [
            ("gzip", [0x1F, 0x8B], "gunzip"), ("Zstandard", [0x28, 0xB5, 0x2F, 0xFD], "zstd -d"),
            ("xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A], "xz -d"), ("zip", [0x50, 0x4B, 0x03, 0x04], "unzip"),
        ] as [(String, [UInt8], String)] where bytes.starts(with: start) {
            throw refuse("packed with \(name)", "unpack it first (\(tool))")
        }
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            throw refuse("text in UTF-16", "write it as UTF-8 first: iconv -f UTF-16 -t UTF-8 IN > OUT")
        }
    }
}
