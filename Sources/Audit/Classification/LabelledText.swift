import Base

/// A row of a classification data set.
public struct LabelledText: Sendable, Equatable {
    /// The text; of a pair the first.
    public let text: String
    /// The second text of a pair.
    public let pair: String?
    /// The class; nil where the row has none.
    public let label: Int?

    /// A row.
    public init(text: String, pair: String? = nil, label: Int?) {
        self.text = text
        self.pair = pair
        self.label = label
    }

    /// The same row with another text.
    func with(text: String) -> LabelledText { LabelledText(text: text, pair: pair, label: label) }
}

/// Reads rows of texts and classes: `.tsv` (a heading with `text` or `sentence` and `label` or `labels`, or two columns
/// without one; cells as they stand, as GLUE's files have them), anything else as `RowFile` reads it, with the same names. A
/// class is an id or one of `labels`. Pairs are `sentence1` and `sentence2`, or `question` and `sentence`.
///
/// - Parameter needsLabels: refuses rows without a class.
/// - Throws: a bad-input error that names file and line, what is wrong there and what was expected.
public func loadLabelledTexts(path: String, labels: [String], needsLabels: Bool = true) throws -> [LabelledText] {
    let reader = LabelledTextReader(path: path, labels: labels, needsLabels: needsLabels)
    let bytes = try readInputFile(path)
    let rows = try path.hasSuffix(".tsv") ? reader.tabbed(bytes.withoutByteOrderMark) : reader.objects(bytes)
    guard !rows.isEmpty else { throw MeraserError.badInput("\(path): no rows in it") }
    return rows
}

extension [String] {
    /// Of names of classes: the one that a name or the digits of an id stand for; nil for anything else.
    public func classIndex(named name: String) -> Int? {
        firstIndex { $0.utf8.elementsEqual(name.utf8) } ?? Int(name).flatMap { indices.contains($0) ? $0 : nil }
    }
}

private struct LabelledTextReader {
    let path: String
    let labels: [String]
    let needsLabels: Bool

    /// Where texts stand, the more particular names first.
    private static let textNames = [
        ["sentence1", "sentence2"], ["question", "sentence"], ["text"], ["sentence"],
    ]

    /// What a class's column is called.
    private static let labelNames = ["label", "labels"]

    func objects(_ bytes: [UInt8]) throws -> [LabelledText] {
        try RowFile(bytes, path: path).rows.map { place, object in
            let row = JSONValue.object(object)
            guard let names = Self.textNames.first(where: { $0.allSatisfy { row[$0] != nil } }) else {
                throw MeraserError.badInput("\(place): a row without 'text' or 'sentence'")
            }
            let texts = try names.map { try row.string($0, in: place) }
            let given = try Self.labelNames.compactMap { name in
                try row.value(name, in: place).map { (name: name, value: $0) }
            }
            guard let found = given.first else { return try self.row(texts, label: nil, place) }
            guard given.count == 1, let label = found.value.string ?? found.value.int.map(String.init) else {
                throw MeraserError.badInput(
                    given.count > 1
                        ? "\(place) has both 'label' and 'labels', expected one of them"
                        : "\(place): '\(found.name)' is \(found.value.kind), expected an id or a name")
            }
            return try self.row(texts, label: label, place)
        }
    }

    func tabbed(_ bytes: [UInt8]) throws -> [LabelledText] {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw MeraserError.badInput("\(path): not valid UTF-8; expected columns with tabs between them")
        }
        var columns = (texts: [0], label: Int?(1))
        var rows: [LabelledText] = []
        for (index, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            let place = "\(path):\(index + 1)"
            let cells = (line.last == 0x0D ? line.dropLast() : line)
                .split(separator: 0x09, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
            if cells == [""] { continue }
            if index == 0, let heading = heading(cells) {
                columns = heading
                continue
            }
            let last = max(columns.texts.max() ?? 0, needsLabels ? columns.label ?? 0 : 0)
            guard cells.count > last else {
                throw MeraserError.badInput("\(place): \(cells.count) columns, expected at least \(last + 1)")
            }
            let label = columns.label.flatMap { cells.indices.contains($0) ? cells[$0] : nil }
            rows.append(try row(columns.texts.map { cells[$0] }, label: label, place))
        }
        return rows
    }

    /// Where texts and class stand, if that line is a heading.
    private func heading(_ cells: [String]) -> (texts: [Int], label: Int?)? {
        let names = cells.map { $0.lowercased() }
        guard let found = Self.textNames.first(where: { $0.allSatisfy(names.contains) }) else { return nil }
        let label = names.firstIndex(where: Self.labelNames.contains)
        return label == nil && needsLabels ? nil : (found.compactMap { names.firstIndex(of: $0) }, label)
    }

    private func row(_ texts: [String], label: String?, _ place: String) throws -> LabelledText {
        guard let label else {
            guard !needsLabels else { throw MeraserError.badInput("\(place): a row without 'label'") }
            return LabelledText(text: texts[0], pair: texts.dropFirst().first, label: nil)
        }
        guard let index = labels.classIndex(named: label) else {
            throw MeraserError.badInput(
                "\(place): label '\(label)' is none of the model's: an id from 0 to \(labels.count - 1), or "
                    + labels.prefix(8).joined(separator: ", ") + (labels.count > 8 ? ", …" : ""))
        }
        return LabelledText(text: texts[0], pair: texts.dropFirst().first, label: index)
    }
}
