/// The assignment of rows to columns with the largest sum of scores: each row gets a column of its own, or, of more rows
/// than columns, each column a row.
///
/// Shortest augmenting paths with dual variables (Jonker and Volgenant 1987, in the rectangular form of Crouse 2016, IEEE
/// Transactions on Aerospace and Electronic Systems 52, 1679): rows in turn, each by Dijkstra's search over reduced costs.
/// Time grows with rows² · columns at worst; memory is the scores and five numbers a column.
public struct LinearAssignment: Sendable, Equatable {
    /// The column of each row; nil for rows that got none.
    public let columns: [Int?]

    /// Solves it.
    ///
    /// - Parameters:
    ///   - scores: row-major, `rows` × `columns`; finite: a precondition.
    ///   - check: called before each row; what it throws ends the work.
    public init(
        maximizing scores: UnsafeBufferPointer<Float>, rows: Int, columns: Int, check: () throws -> Void
    ) rethrows {
        precondition(rows > 0 && columns > 0 && scores.count >= rows * columns, "\(rows) x \(columns)")
        // The shorter side is assigned, one after the other.
        let isWide = rows <= columns
        var search = AugmentingSearch(
            scores: scores, rows: isWide ? rows : columns, columns: isWide ? columns : rows,
            rowStep: isWide ? columns : 1, columnStep: isWide ? 1 : columns)
        for row in 0..<min(rows, columns) {
            try check()
            search.assign(row)
        }
        if isWide {
            self.columns = search.columnOfRow.map { $0 }
        } else {
            self.columns = search.rowOfColumn.map { $0 < 0 ? nil : $0 }
        }
    }
}

/// Costs are the negative scores.
private struct AugmentingSearch {
    let scores: UnsafeBufferPointer<Float>
    let rows: Int
    let columns: Int
    let rowStep: Int
    let columnStep: Int
    /// Of assigned rows; −1: none yet.
    var columnOfRow: [Int]
    var rowOfColumn: [Int]
    private var rowPrice: [Double]
    private var columnPrice: [Double]
    private var distance: [Double]
    private var previousRow: [Int]
    /// Columns that the search has not settled, in any order.
    private var open: [Int]

    init(scores: UnsafeBufferPointer<Float>, rows: Int, columns: Int, rowStep: Int, columnStep: Int) {
        (self.scores, self.rows, self.columns) = (scores, rows, columns)
        (self.rowStep, self.columnStep) = (rowStep, columnStep)
        columnOfRow = Array(repeating: -1, count: rows)
        rowOfColumn = Array(repeating: -1, count: columns)
        rowPrice = Array(repeating: 0, count: rows)
        columnPrice = Array(repeating: 0, count: columns)
        distance = Array(repeating: 0, count: columns)
        previousRow = Array(repeating: -1, count: columns)
        open = Array(0..<columns)
    }

    /// Finds the shortest path from a free row to a free column and turns what lies on it around.
    mutating func assign(_ start: Int) {
        for column in 0..<columns {
            distance[column] = .infinity
            open[column] = column
        }
        var (row, least, count, end) = (start, 0.0, columns, -1)
        while end < 0 {
            let (place, value) = relax(row, from: least, open: count)
            least = value
            let column = open[place]
            count -= 1
            // Settled columns are kept behind the open ones.
            open.swapAt(place, count)
            if rowOfColumn[column] < 0 { end = column } else { row = rowOfColumn[column] }
        }
        rowPrice[start] += least
        for index in count..<columns {
            let column = open[index]
            if column != end { rowPrice[rowOfColumn[column]] += least - distance[column] }
            columnPrice[column] -= least - distance[column]
        }
        var column = end
        while true {
            let row = previousRow[column]
            rowOfColumn[column] = row
            swap(&columnOfRow[row], &column)
            if row == start { return }
        }
    }

    /// Shortens the ways to the open columns by way of a row, and finds the nearest: of equal ones a free column, then the
    /// first that is met.
    private mutating func relax(_ row: Int, from least: Double, open count: Int) -> (place: Int, value: Double) {
        let offset = least - rowPrice[row]
        var (place, lowest) = (-1, Double.infinity)
        let base = row * rowStep  // bounded: below the scores' count
        for index in 0..<count {
            let column = open[index]
            let cost = -Double(scores[base + column * columnStep])
            let reduced = offset + cost - columnPrice[column]
            if reduced < distance[column] {
                distance[column] = reduced
                previousRow[column] = row
            }
            let value = distance[column]
            if value < lowest || (value == lowest && rowOfColumn[column] < 0) { (place, lowest) = (index, value) }
        }
        return (place, lowest)
    }
}
