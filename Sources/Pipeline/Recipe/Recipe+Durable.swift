import Base

extension Settings {
    /// `true` for all cells, or a list of their names; nil: there are none.
    mutating func durable(_ key: String) throws -> DurabilitySelection? {
        guard let value = value(key) else { return nil }
        if let flag = value.bool { return flag ? .all : nil }
        let names = value.array?.compactMap(\.string) ?? []
        guard !names.isEmpty, names.count == value.array?.count else {
            throw MeraserError.badInput(
                "\(place): '\(key)' is \(value.kind), expected true or a list of cells, such as [q4_0, as_is/relearn_half]"
            )
        }
        do {
            return try DurabilitySelection(names: names)
        } catch let error as MeraserError {
            throw error.within(place, kind: .badInput)
        }
    }
}

extension Recipe {
    /// Clean rows for relearning: those that `relearn` names, else those that recovering is trained on.
    var cleanRows: String? {
        if let path = relearn?.source.path { return path }
        guard case .file(let path) = recover?.rows else { return nil }
        return path
    }
}
