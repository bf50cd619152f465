import Base
import Foundation
import Model
import Tune

/// The options that a search tries: for each a list of values, or a range that is drawn from evenly in its logarithm.
public struct SearchSpace: Sendable, Equatable {
    /// The values of one option.
    public enum Values: Sendable, Equatable {
        /// These.
        case list([JSONValue])
        /// Between these, both more than 0; whole numbers if both are.
        case log(low: JSONValue, high: JSONValue)
    }

    /// Options of the erasing stage by name, in the file's order.
    public let dimensions: [(name: String, values: Values)]

    /// One value for each option.
    public typealias Configuration = [(key: String, value: JSONValue)]

    /// Options that say how a run is measured or kept, not what it is.
    private static let foreign = [
        "seed", "compute", "backward", "key", "check_steps", "until", "kl_data", "eval_data", "init_adapter",
    ]

    /// Reads the section `space`.
    ///
    /// - Throws: a bad-input error that names the option and what was expected.
    init(_ section: Settings) throws {
        var dimensions: [(name: String, values: Values)] = []
        for (name, value) in section.rest() {
            guard let key = TrainingKey.named(name), !key.isOperational, !Self.foreign.contains(name) else {
                let known = TrainingKey.all.filter { !$0.isOperational && !Self.foreign.contains($0.name) }.map(\.name)
                let hint = closest(to: name, in: known).map { "; did you mean '\($0)'?" } ?? ""
                throw MeraserError.badInput("\(section.place): '\(name)' is no option that can be searched\(hint)")
            }
            let values = try Self.values(value, "\(section.place): '\(name)'")
            let samples: [JSONValue] =
                switch values {
                case .list(let list): list
                case .log(let low, let high): [low, high]
                }
            for sample in samples {
                do {
                    _ = try TrainingOverrides([(name, sample)], source: section.place)
                } catch let error as MeraserError {
                    throw MeraserError(.badInput, error.message)
                }
            }
            dimensions.append((name, values))
        }
        guard !dimensions.isEmpty else { throw MeraserError.badInput("\(section.place) is empty: nothing to search") }
        self.dimensions = dimensions
    }

    private static func values(_ value: JSONValue, _ place: String) throws -> Values {
        if let list = value.array {
            guard !list.isEmpty, Set(list.map { $0.serialized() }).count == list.count else {
                throw MeraserError.badInput("\(place): an empty list, or one that names a value twice")
            }
            return .list(list)
        }
        if let range = value["log"]?.array {
            guard value.object?.count == 1, range.count == 2, let low = range[0].double, let high = range[1].double,
                low > 0, low < high
            else {
                throw MeraserError.badInput(
                    "\(place): \(value.serialized()), expected {log: [low, high]} with 0 < low < high")
            }
            return .log(low: range[0], high: range[1])
        }
        throw MeraserError.badInput("\(place): \(value.kind), expected a list of values or {log: [low, high]}")
    }

    /// Number of different configurations; nil where a range makes them uncountable.
    public var count: Int? {
        dimensions.reduce(1 as Int?) { product, dimension in
            guard let product, case .list(let list) = dimension.values else { return nil }
            let (result, overflow) = product.multipliedReportingOverflow(by: list.count)
            return overflow ? nil : result
        }
    }

    /// That many different configurations (all, in order, if there are no more), which follow from the seed.
    public func configurations(_ count: Int, seed: UInt64) -> [Configuration] {
        if let all = self.count, all <= count { return (0..<all).map(combination) }
        var random = SplitMix64(seed: SplitMix64.mixed(seed ^ 0x7365_6172_6368))
        var result: [Configuration] = []
        var seen: Set<String> = []
        // A range of whole numbers may hold fewer than are asked for.
        for _ in 0..<100 * count where result.count < count {
            let drawn = dimensions.map { (key: $0.name, value: Self.draw($0.values, &random)) }
            if seen.insert(drawn.map { $0.value.serialized() }.joined(separator: "\n")).inserted {
                result.append(drawn)
            }
        }
        return result
    }

    /// The configuration of that number in the order of the lists, the last option changing fastest.
    private func combination(_ number: Int) -> Configuration {
        var rest = number
        let reversed = dimensions.reversed().map { dimension -> (key: String, value: JSONValue) in
            guard case .list(let list) = dimension.values else { return (dimension.name, .null) }
            defer { rest /= list.count }
            return (dimension.name, list[rest % list.count])
        }
        return reversed.reversed()
    }

    private static func draw(_ values: Values, _ random: inout SplitMix64) -> JSONValue {
        let bits = random.next()
        switch values {
        case .list(let list):
            return list[Int(bits.multipliedFullWidth(by: UInt64(list.count)).high)]
        case .log(let low, let high):
            let (a, b) = (log(low.double ?? 1), log(high.double ?? 1))
            let value = exp(a + (b - a) * Double(bits >> 11) * 0x1p-53)
            if let least = low.int, let most = high.int {
                return .integer(min(most, max(least, Int(whole: value.rounded()) ?? most)))
            }
            // Three digits: short to repeat, and the same whatever the last bit of a logarithm.
            let short = Double(String(format: "%.2e", value)) ?? value
            return .real(min(high.double ?? short, max(low.double ?? short, short)))
        }
    }

    /// Equal in every option and value.
    public static func == (a: SearchSpace, b: SearchSpace) -> Bool {
        a.dimensions.map(\.name) == b.dimensions.map(\.name) && a.dimensions.map(\.values) == b.dimensions.map(\.values)
    }
}
