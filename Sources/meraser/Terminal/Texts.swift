import Foundation

/// A number with that many digits behind the point.
func numberText(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

/// A sentence in lines of at most that many characters, those behind the first indented; a longer word stays whole.
func wrapped(_ text: String, width: Int = 100) -> String {
    var lines: [String] = []
    for word in text.split(separator: " ") {
        if let last = lines.last, last.count + 1 + word.count <= width {
            lines[lines.count - 1] = "\(last) \(word)"
        } else {
            lines.append((lines.isEmpty ? "" : "  ") + word)
        }
    }
    return lines.joined(separator: "\n")
}

/// A share as per cent.
func percentText(_ share: Double) -> String { "\(numberText(share * 100, 1)) %" }

extension Duration {
    /// Seconds as a floating-point number.
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

/// Rows of equal length as aligned columns, the first row as heading; all but the first column are aligned to the right.
func tableText(_ rows: [[String]]) -> String {
    let columns = rows.first?.count ?? 0
    let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
        let cells = row.enumerated().map { index, cell in
            let padding = String(repeating: " ", count: widths[index] - cell.count)
            return index == 0 ? cell + padding : padding + cell
        }
        return cells.joined(separator: "  ").replacingOccurrences(of: " +$", with: "", options: .regularExpression)
    }.joined(separator: "\n")
}
