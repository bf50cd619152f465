import Base
import Quant
import Synchronization

/// Reading the table of merges: most of the time that a large tokenizer takes to load, so several threads look its tokens
/// up.
extension BPEModel {
    private typealias Pair = (left: UnsafeBufferPointer<UInt8>, right: UnsafeBufferPointer<UInt8>)

    /// What two tokens become.
    private struct Merge {
        let left: Int32
        let right: Int32
        let id: Int32
    }

    /// Rows that a thread looks up at once: a multiple of those of one search.
    private static let rowsAtOnce = 16_384

    /// The table of merges that are `["a", "b"]` or, in older files, `"a b"`; there lines that begin with `#version` are
    /// headers.
    static func table(
        _ rows: JSONRows, _ vocabulary: Vocabulary, prefix: [UInt8], file: String
    ) throws -> MergeTable {
        try rows.withTexts { texts in
            try table(rows: rows.count, vocabulary, prefix: prefix, file: file) { row in
                let text = texts[row]
                if let second = texts.second(row) { return (text, second) }
                guard case .none = rows.second(row) else { throw malformedMerge(row, file: file) }
                return try halves(text, row, file: file)
            }
        }
    }

    /// The table of the lines of merges.txt.
    static func table(_ lines: [ArraySlice<UInt8>], _ vocabulary: Vocabulary, file: String) throws -> MergeTable {
        let bytes = Array(lines.joined())
        let ends = lines.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.count) }
        return try bytes.withUnsafeBufferPointer { bytes in
            try table(rows: lines.count, vocabulary, prefix: [], file: file) { row in
                try halves(UnsafeBufferPointer(rebasing: bytes[ends[row]..<ends[row + 1]]), row, file: file)
            }
        }
    }

    /// The two parts of `"a b"`; nil for a header.
    private static func halves(_ line: UnsafeBufferPointer<UInt8>, _ row: Int, file: String) throws -> Pair? {
        if line.starts(with: "#version".utf8) { return nil }
        guard let space = line.firstIndex(of: 0x20), !line[(space + 1)...].contains(0x20) else {
            throw malformedMerge(row, file: file)
        }
        return (UnsafeBufferPointer(rebasing: line[..<space]), UnsafeBufferPointer(rebasing: line[(space + 1)...]))
    }

    /// The table of merges, best first; `prefix` is left out of the right part of what they make. `pair` is asked for every
    /// row once; nil: the row is no merge.
    private static func table(
        rows: Int, _ vocabulary: Vocabulary, prefix: [UInt8], file: String, _ pair: (Int) throws -> Pair?
    ) throws -> MergeTable {
        let pieces = (rows + rowsAtOnce - 1) / rowsAtOnce
        let found = Mutex([[Merge]](repeating: [], count: pieces))
        // It borrows texts that nobody writes as long as this runs.
        nonisolated(unsafe) let pair = pair
        try withoutActuallyEscaping(pair) { pair in
            nonisolated(unsafe) let pair = pair
            try forEachInParallel(count: pieces, threads: defaultThreadCount()) { piece in
                let rows = piece * rowsAtOnce..<min((piece + 1) * rowsAtOnce, rows)
                let merges = try Self.merges(rows, vocabulary, prefix: prefix, file: file, pair)
                found.withLock { $0[piece] = merges }
            }
        }
        var table = MergeTable(capacity: rows)
        for merges in found.withLock({ $0 }) {
            for first in stride(from: 0, to: merges.count, by: VocabularySearch.atOnce) {
                for merge in merges[first..<min(first + VocabularySearch.atOnce, merges.count)] {
                    table.append(merge.left, merge.right, becoming: merge.id)
                }
                table.index()
            }
        }
        return table
    }

    /// The merges of some rows.
    private static func merges(
        _ rows: Range<Int>, _ vocabulary: Vocabulary, prefix: [UInt8], file: String, _ pair: (Int) throws -> Pair?
    ) throws -> [Merge] {
        func missing(_ row: Int, _ token: some Collection<UInt8>) -> MeraserError {
            .badInput(
                "\(file): merge \(row) names '\(String(decoding: token, as: UTF8.self))', which is not in the vocabulary"
            )
        }
        var merges: [Merge] = []
        merges.reserveCapacity(rows.count)
        var asked: [Int] = []
        var id = Int32(0)
        try VocabularySearch.with(vocabulary) { search in
            let (texts, ids) = (search.texts, search.ids)
            for first in stride(from: rows.lowerBound, to: rows.upperBound, by: VocabularySearch.atOnce / 2) {
                asked.removeAll(keepingCapacity: true)
                for row in first..<min(first + VocabularySearch.atOnce / 2, rows.upperBound) {
                    guard let (left, right) = try pair(row) else { continue }
                    (texts[2 * asked.count], texts[2 * asked.count + 1]) = (left, right)
                    asked.append(row)
                }
                search.find(2 * asked.count)
                for (index, row) in asked.enumerated() {
                    let i = 2 * index
                    let (left, right) = (texts[i], texts[i + 1])
                    guard ids[i] >= 0 else { throw missing(row, left) }
                    guard ids[i + 1] >= 0 else { throw missing(row, right) }
                    guard right.count >= prefix.count else { throw malformedMerge(row, file: file) }
                    let rest = UnsafeBufferPointer(rebasing: right[prefix.count...])
                    // Often the token that the merge before made, or the one behind it.
                    if Int(id) < vocabulary.endID, vocabulary.equals(Int(id), left, rest) {
                    } else if Int(id) + 1 < vocabulary.endID, vocabulary.equals(Int(id) + 1, left, rest) {
                        id += 1
                    } else {
                        let both = Array(left) + Array(rest)
                        guard let known = vocabulary.id(of: both) else { throw missing(row, both) }
                        id = known
                    }
                    merges.append(Merge(left: ids[i], right: ids[i + 1], id: id))
                }
            }
        }
        return merges
    }

    private static func malformedMerge(_ row: Int, file: String) -> MeraserError {
        .badInput("\(file): merge \(row) is not a pair of tokens")
    }
}
