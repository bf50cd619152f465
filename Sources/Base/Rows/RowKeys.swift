/// The keys of rows that people write: what nothing reads is refused by name.
public enum RowKeys {
    /// Keys that say where a row is from and may stand in any row; nothing reads them.
    public static let metadata: Set<String> = [
        "id", "idx", "index", "uuid", "source", "dataset", "category", "topic", "language", "license", "url",
        // What pandas calls the row numbers that it wrote into a table and read again.
        "Unnamed: 0",
        // What `dataset mismatch` and MEraser's own files note.
        "original_q_type", "answer_from_type", "q_idx", "a_idx",
    ]

    /// Refuses a row with keys that are neither of `used` nor of `metadata`; null counts as absent. `shape` and `place` are
    /// for the error (`badInput`), and `remedy` says what can be done about those keys.
    public static func refuseUnknown(
        in row: JSONObject, used: [String], shape: String, place: String,
        remedy: (_ unknown: [String]) -> String = { _ in "remove it" }
    ) throws {
        let unknown = row.members.filter { key, value in
            !value.isNull && !used.contains(key.string) && !metadata.contains(key.string)
        }.map(\.key.string)
        guard let first = unknown.first else { return }
        let hint = closest(to: first, in: used).map { "did you mean '\($0)'?" } ?? remedy(unknown)
        throw MeraserError.badInput(
            "\(place): nothing reads \(quoted(first)) in a row of the shape \(shape), which has "
                + "\(used.joined(separator: ", ")); \(hint)")
    }
}
