import Base
import Foundation

/// A dataset file read and checked: `.jsonl`, `.json`, `.csv` or `.tsv` (see `RowFile`), all rows of one shape.
public struct DatasetFile: Sendable {
    /// The path as given.
    public let path: String
    /// The shape of every row.
    public let shape: DatasetShape
    /// The rows in file order.
    public let rows: [DatasetRow]
    /// What was not chosen in place of each row; nil where nothing is compared.
    public let rejected: [DatasetRow]?
    /// SHA-256 of the file, 64 hex digits.
    public let sha256: String
    /// What errors call each row: `data.json: row 3`, `data.jsonl:3`.
    private let places: [String]

    /// Reads a file; every row is checked.
    ///
    /// - Parameters:
    ///   - columns: keys that are taken out of every row before anything is made of it (`remove_columns`).
    ///   - isComparing: every row must have an answer that was not chosen.
    /// - Throws: a bad-input error that names the file, the row or line, and the key expected; an empty dataset is one.
    public init(path: String, removing columns: [String] = [], comparing isComparing: Bool = false) throws {
        try self.init(bytes: Self.bytes(path), path: path, removing: columns, comparing: isComparing)
    }

    /// Reads a file's contents; `path` decides the format and begins errors.
    init(bytes: [UInt8], path: String, removing columns: [String] = [], comparing isComparing: Bool = false) throws {
        let (objects, shape) = try Self.objects(bytes, path: path, removing: columns)
        self.path = path
        self.shape = shape
        places = objects.map(\.place)
        rows = try objects.map { try DatasetRow($0.object, shape: shape, place: $0.place) }
        if isComparing, shape != .promptChosen {
            throw MeraserError.badInput(
                "\(path) has rows of the shape \(shape.rawValue); `objective` dpo needs 'prompt', 'chosen' and 'rejected'"
            )
        }
        rejected =
            try isComparing
            ? objects.map { try RowReader(row: $0.object, place: $0.place).answer("rejected", beside: "chosen") } : nil
        sha256 = sha256Hex(bytes)
        let isFirstChat = rows[0].isConversation
        if let other = rows.firstIndex(where: { $0.isConversation != isFirstChat }) {
            throw MeraserError.badInput(
                "\(places[other]) is \(isFirstChat ? "no conversation" : "a conversation"), unlike the first row; expected "
                    + "one kind in a file")
        }
    }

    /// The rows of a file as they stand, but for those columns, and their shape. Each was checked.
    static func rows(
        path: String, removing columns: [String] = []
    ) throws -> (rows: [RowFile.Row], shape: DatasetShape) {
        let read = try objects(bytes(path), path: path, removing: columns)
        for row in read.rows { _ = try DatasetRow(row.object, shape: read.shape, place: row.place) }
        return read
    }

    private static func bytes(_ path: String) throws -> [UInt8] {
        let file = try MappedFile(path: path)
        var bytes = [UInt8](repeating: 0, count: file.count)
        try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        return bytes
    }

    private static func objects(
        _ bytes: [UInt8], path: String, removing columns: [String]
    ) throws -> (rows: [RowFile.Row], shape: DatasetShape) {
        let rows = try RowFile(bytes, path: path).rows.map { ($0.place, $0.object.without(columns)) }
        guard let first: RowFile.Row = rows.first else { throw MeraserError.badInput("\(path) has no rows") }
        guard let shape = DatasetShape(of: first.object) else {
            let keys = first.object.members.map { quoted($0.key.string) }.prefix(8).joined(separator: " ")
            let known = DatasetShape.allCases.map(\.requiredKeys).joined(separator: "; ")
            throw MeraserError.badInput(
                "\(first.place): the keys \(keys) make no known shape; expected one of: \(known)")
        }
        return (rows, shape)
    }

    /// True if its rows are conversations, which a chat template has to render.
    var hasConversations: Bool { rows[0].isConversation }

    /// What `body` gives; its bad-input errors begin with the place of that row.
    func naming<R>(row: Int, _ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as MeraserError where error.kind == .badInput {
            throw MeraserError.badInput("\(places[row]): \(error.message)")
        }
    }
}

extension JSONObject {
    /// The members but for those.
    fileprivate func without(_ keys: [String]) -> JSONObject {
        guard members.contains(where: { keys.contains($0.key.string) }) else { return self }
        return JSONObject(
            members.filter { !keys.contains($0.key.string) }.map { (key: $0.key.string, value: $0.value) })
    }
}
