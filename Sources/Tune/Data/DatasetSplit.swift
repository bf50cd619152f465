import Base

/// A dataset cut into two parts that share no question.
public struct DatasetSplit: Sendable {
    /// How many rows the test part has.
    public enum TestSize: Sendable, Equatable {
        /// A share of all rows, above 0 and below 1.
        case share(Double)
        /// A number of rows.
        case rows(Int)
    }

    /// The rows of the larger part as they stand, in file order.
    public let train: [JSONValue]
    /// The rows of the test part as they stand, in file order.
    public let test: [JSONValue]
    /// Rows whose question stands in another row too; all rows of a question go to the same side.
    public let duplicates: Int

    /// Draws the test part from a dataset of any shape.
    ///
    /// Rows with the same question, but for case, blanks, punctuation around it and Unicode form, stay together, so the test
    /// part may be a few rows smaller than asked for. The same file, size and seed give the same parts.
    /// - Throws: bad-input errors of the file; a usage error if one part would be empty.
    public init(path: String, removing columns: [String] = [], testSize: TestSize, seed: UInt64) throws {
        let (rows, shape) = try DatasetFile.rows(path: path, removing: columns)
        var groups: [[Int]] = []
        var groupOf: [JSONString: Int] = [:]
        for (index, row) in rows.enumerated() {
            let key = JSONString(try DatasetRow(row.object, shape: shape, place: row.place).identity)
            if let group = groupOf[key] {
                groups[group].append(index)
            } else {
                groupOf[key] = groups.count
                groups.append([index])
            }
        }
        let wanted =
            switch testSize {
            case .rows(let count): count
            case .share(let share): Int((share * Double(rows.count)).rounded())
            }
        var random = KeyedRandom(seed: seed, stream: 0x73_706C_6974)
        var order = Array(groups.indices)
        random.shuffle(&order)
        var isTest = [Bool](repeating: false, count: rows.count)
        var count = 0
        for group in order where count + groups[group].count <= wanted {
            for index in groups[group] { isTest[index] = true }
            count += groups[group].count
        }
        guard count > 0, count < rows.count else {
            throw MeraserError.usage(
                "`test_size`: \(wanted) of the \(rows.count) rows of \(path), which have \(groups.count) different questions, "
                    + "leave one part empty")
        }
        train = rows.indices.filter { !isTest[$0] }.map { .object(rows[$0].object) }
        test = rows.indices.filter { isTest[$0] }.map { .object(rows[$0].object) }
        duplicates = groups.reduce(0) { $0 + ($1.count > 1 ? $1.count : 0) }
    }
}
