import Base
import Foundation

/// A dataset file read and checked: `.jsonl` (one object a line) or `.json` (one array of objects).
public struct DatasetFile: Sendable {
    /// The path as given.
    public let path: String
    /// The shape of every row.
    public let shape: DatasetShape
    /// The rows in file order.
    public let rows: [DatasetRow]
    /// SHA-256 of the file, 64 hex digits.
    public let sha256: String
    /// What errors call each row: `data.json: row 3`, `data.jsonl:3`.
    private let places: [String]

    /// Reads a file; every row is checked.
    ///
    /// - Throws: a bad-input error that names the file, the row or line, and the key expected; an empty dataset is one.
    public init(path: String) throws {
        let file = try MappedFile(path: path)
        var bytes = [UInt8](repeating: 0, count: file.count)
        try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        try self.init(bytes: bytes, path: path)
    }

    /// Reads a file's contents; `path` decides the format and begins errors.
    init(bytes: [UInt8], path: String) throws {
        let objects = try Self.objects(bytes, path: path)
        guard let first = objects.first else { throw MeraserError.badInput("\(path) has no rows") }
        guard let shape = DatasetShape(of: first.object) else {
            let keys = first.object.members.map { "'\($0.key.string)'" }.prefix(8).joined(separator: " ")
            let known = DatasetShape.allCases.map(\.requiredKeys).joined(separator: "; ")
            throw MeraserError.badInput(
                "\(first.place): the keys \(keys) make no known shape; expected one of: \(known)")
        }
        self.path = path
        self.shape = shape
        places = objects.map(\.place)
        rows = try objects.map { try DatasetRow($0.object, shape: shape, place: $0.place) }
        sha256 = sha256Hex(bytes)
    }

    /// What `body` gives; its bad-input errors begin with the place of that row.
    func naming<R>(row: Int, _ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as MeraserError where error.kind == .badInput {
            throw MeraserError.badInput("\(places[row]): \(error.message)")
        }
    }

    /// The objects of a file with the places that errors name.
    static func objects(_ bytes: [UInt8], path: String) throws -> [(place: String, object: JSONObject)] {
        let firstByte = bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
        let values: [(place: String, value: JSONValue)]
        if !path.lowercased().hasSuffix(".jsonl"), firstByte == UInt8(ascii: "[") {
            let elements = try JSONValue.parse(bytes, file: path).array ?? []
            values = elements.enumerated().map { ("\(path): row \($0 + 1)", $1) }
        } else {
            var lines = JSONLines(bytes, file: path)
            values = try lines.all().map { ("\(path):\($0.line)", $0.value) }
        }
        return try values.map { place, value in
            guard let object = value.object else {
                throw MeraserError.badInput("\(place) is \(value.kind), expected an object")
            }
            return (place, object)
        }
    }
}
