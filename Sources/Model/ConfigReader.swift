import Quant

/// Reads bounded values of a config.json and words the errors.
struct ConfigReader {
    let json: JSONValue
    let file: String

    func error(_ key: String, _ what: String) -> MeraserError { .badInput("\(file): \(key) \(what)") }

    func int(_ key: String, _ range: ClosedRange<Int>, default fallback: Int? = nil) throws -> Int {
        guard let value = json[key], !value.isNull else {
            if let fallback, range.contains(fallback) || fallback == 0 { return fallback }
            throw error(key, "is missing or null, expected a number from \(range.lowerBound) to \(range.upperBound)")
        }
        guard let number = value.int, range.contains(number) else {
            throw error(key, "is not a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func number(_ key: String, _ range: ClosedRange<Double>, default fallback: Double) throws -> Double {
        guard let value = json[key], !value.isNull else { return fallback }
        return try bounded(value, key, range)
    }

    func bounded(_ value: JSONValue?, _ key: String, _ range: ClosedRange<Double>) throws -> Double {
        guard let number = value?.double, number.isFinite, range.contains(number) else {
            throw error(key, "is missing or not a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A token id or a list of them; null and absent mean none.
    func tokenIDs(_ key: String, _ vocabulary: Int) throws -> [Int32] {
        guard let value = json[key], !value.isNull else { return [] }
        return try (value.array ?? [value]).map {
            guard let id = $0.int, (0..<vocabulary).contains(id) else {
                throw error(key, "is not a token id below vocab_size \(vocabulary)")
            }
            return Int32(id)
        }
    }
}
