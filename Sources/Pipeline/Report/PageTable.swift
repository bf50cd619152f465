/// A table of a page: it scrolls by itself where it is wide, with a shadow on the side where more of it is, and on a phone
/// each row becomes a card that names its columns. All texts are escaped.
struct PageTable {
    /// A column.
    struct Column {
        /// Its name; with `group`, what the columns beside it have in common, it stands in a second line of the head.
        var name: String
        var group: String?
        /// True for words, which may be wrapped and stand on the left.
        var isText = false

        /// A column of numbers unless said otherwise.
        init(_ name: String, group: String? = nil, isText: Bool = false) {
            (self.name, self.group, self.isText) = (name, group, isText)
        }
    }

    /// A cell: a figure and, smaller and under it, what belongs to it.
    struct Cell: Sendable {
        var value: String
        var details: [String] = []
        /// How its value is coloured; nil: as text.
        var tone: Finding.Tone?
        /// What a sortable column sorts by; nil: the text, or nothing where `value` is `missing`.
        var key: Double?
        /// True for the best figure of its column.
        var isBest = false
        /// The anchor on this page that it leads to.
        var anchor: String?

        /// What stands where nothing was measured.
        static let missing = Cell("–")

        /// A cell.
        init(
            _ value: String, details: [String] = [], tone: Finding.Tone? = nil, key: Double? = nil,
            isBest: Bool = false, anchor: String? = nil
        ) {
            (self.value, self.details, self.tone, self.key) = (value, details, tone, key)
            (self.isBest, self.anchor) = (isBest, anchor)
        }
    }

    /// The columns; the first names the rows.
    let columns: [Column]
    /// A cell of each column a row.
    let rows: [[Cell]]
    /// True if its heads sort the rows; the page needs `PageScript.sorting` for that.
    var isSortable = false

    /// The table as markup.
    var markup: String {
        let names = isSortable ? "figures cards sortable" : "figures cards"
        let body = rows.map { row in "<tr>" + zip(columns, row).enumerated().map(cell).joined() + "</tr>" }
        return """
            <div class="wide"><table class="\(names)">
            <thead>\(head)</thead>
            <tbody>\(body.joined(separator: "\n"))</tbody>
            </table></div>
            """
    }

    /// The same as rows of texts, the columns' names first; for terminals.
    var texts: [[String]] { [columns.map(\.name)] + rows.map { $0.map(\.value) } }

    private var head: String {
        func leaf(_ index: Int, _ column: Column, _ rest: String = "") -> String {
            let name = column.isText && index > 0 ? " class=\"text\"" : ""
            return "<th scope=\"col\" data-column=\"\(index)\"\(name)\(rest)>\(column.name.escapedForHTML)</th>"
        }
        let all = Array(columns.enumerated())
        guard columns.contains(where: { $0.group != nil }) else {
            return "<tr>" + all.map { leaf($0.offset, $0.element) }.joined() + "</tr>"
        }
        var groups = ""
        var index = 0
        while index < columns.count {
            guard let group = columns[index].group else {
                groups += leaf(index, columns[index], " rowspan=\"2\"")
                index += 1
                continue
            }
            let count = columns[index...].prefix { $0.group == group }.count
            groups += "<th scope=\"colgroup\" colspan=\"\(count)\">\(group.escapedForHTML)</th>"
            index += count
        }
        let leaves = all.filter { $0.element.group != nil }.map { leaf($0.offset, $0.element) }
        return "<tr>\(groups)</tr>\n<tr>\(leaves.joined())</tr>"
    }

    private func cell(_ index: Int, _ pair: (Column, Cell)) -> String {
        let (column, cell) = pair
        var value = cell.value.escapedForHTML
        if let anchor = cell.anchor { value = "<a href=\"#\(anchor.escapedForHTML)\">\(value)</a>" }
        if let tone = cell.tone { value = "<span class=\"\(tone.rawValue)\">\(value)</span>" }
        if cell.isBest { value = "<strong class=\"best\">\(value)</strong>" }
        let text = value + cell.details.map { "<small>\($0.escapedForHTML)</small>" }.joined()
        let key = cell.key.map { isSortable ? " data-sort=\"\($0)\"" : "" } ?? ""
        if index == 0 { return "<th scope=\"row\"\(key)>\(text)</th>" }
        let label = [column.group, column.name].compactMap { $0 }.joined(separator: " ").escapedForHTML
        return "<td data-label=\"\(label)\"\(column.isText ? " class=\"text\"" : "")\(key)>\(text)</td>"
    }

    /// Names with their values, in two columns.
    static func list(_ rows: [(name: String, value: String)]) -> String {
        let lines = rows.map {
            "<tr><th scope=\"row\">\($0.name.escapedForHTML)</th><td>\($0.value.escapedForHTML)</td></tr>"
        }
        return "<div class=\"wide\"><table class=\"list\"><tbody>\(lines.joined(separator: "\n"))</tbody></table></div>"
    }
}
