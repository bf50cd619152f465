/// The keys of rows that people write: what nothing reads is refused by name.
public enum RowKeys {
    /// Keys that say where a row is from and may stand in any row; nothing reads them.
    public static let metadata: Set<String> = [
        "id", "idx", "index", "uuid", "source", "dataset", "category", "topic", "language", "license", "url",
        // What `dataset mismatch` and MEraser's own files note.
        "original_q_type", "answer_from_type", "q_idx", "a_idx",
    ]

    /// Refuses a row with a key that is neither of `used` nor of `metadata`; null counts as absent. `shape` and `place` are
    /// for the error (`badInput`).
    public static func refuseUnknown(in row: JSONObject, used: [String], shape: String, place: String) throws {
        for (key, value) in row.members where !value.isNull {
            guard used.contains(key.string) || metadata.contains(key.string) else {
                let hint = closest(to: key.string, in: used).map { "did you mean '\($0)'?" } ?? "remove it"
                throw MeraserError.badInput(
                    "\(place): nothing reads \(quoted(key.string)) in a row of the shape \(shape), which has "
                        + "\(used.joined(separator: ", ")); \(hint)")
            }
        }
    }
}
