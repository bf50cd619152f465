import Base

/// The value of one parameter of a merge recipe as written: a number, a list that is interpolated over the layers, or
/// several of these behind filters on tensor names.
public indirect enum MergeSetting: Sendable, Equatable {
    /// One number, or several that are interpolated linearly from the first to the last layer. Flags are 0 and 1.
    case gradient([Double])
    /// The first whose filter is part of the tensor's name counts; nil fits every tensor.
    case filtered([Choice])

    /// A value behind a filter.
    public struct Choice: Sendable, Equatable {
        /// A part of tensor names; nil or `*` for all.
        public let filter: String?
        /// Its value.
        public let value: MergeSetting

        /// A value behind a filter.
        public init(filter: String?, value: MergeSetting) {
            self.filter = filter
            self.value = value
        }
    }

    /// Reads a parameter's value. Errors (`badInput`) name place and key.
    init(_ value: JSONValue, key: String, place: String, isFlag: Bool) throws {
        func bad(_ what: String) -> MeraserError {
            .badInput(
                "\(place): '\(key)' \(what), expected \(isFlag ? "true or false" : "a number"), a list of them, or a "
                    + "list of {filter, value}")
        }
        func scalar(_ value: JSONValue) throws -> Double {
            if isFlag, let flag = value.bool { return flag ? 1 : 0 }
            guard let number = value.double, Float(number).isFinite, !isFlag || [0, 1].contains(number) else {
                throw bad("holds \(value.kind)")
            }
            return number
        }
        func gradient(_ value: JSONValue) throws -> MergeSetting {
            guard let list = value.array else { return .gradient([try scalar(value)]) }
            guard !list.isEmpty else { throw bad("is an empty list") }
            return .gradient(try list.map(scalar))
        }
        func choice(_ value: JSONValue) throws -> Choice {
            var settings = try Settings(value, place: "\(place): \(key)")
            let filter = try settings.text("filter")
            guard let inner = settings.value("value") else { throw bad("has an entry without 'value'") }
            try settings.requireNothingElse()
            return Choice(filter: filter == "*" ? nil : filter, value: try gradient(inner))
        }
        if value.object != nil {
            self = .filtered([try choice(value)])
        } else if let list = value.array, list.contains(where: { $0.object != nil }) {
            self = .filtered(try list.map(choice))
        } else {
            self = try gradient(value)
        }
    }

    /// The filters in it.
    var filters: [String] {
        switch self {
        case .gradient: []
        case .filtered(let choices): choices.compactMap(\.filter)
        }
    }

    /// The number for a tensor of that name at `t` of the way from the first layer (0) to the last (1); nil where no
    /// filter fits. Source: mergekit, `config.py`, `evaluate_setting`.
    func number(tensor: String, t: Double) -> Double? {
        switch self {
        case .gradient(let values):
            let scaled = t * Double(values.count - 1)
            let low = Int(scaled)
            let fraction = scaled - Double(low)
            return (1 - fraction) * values[low] + fraction * values[min(low + 1, values.count - 1)]
        case .filtered(let choices):
            return choices.first { $0.filter.map(tensor.contains) ?? true }?.value.number(tensor: tensor, t: t)
        }
    }

    /// The flag for a tensor: of a list the entry that the layer reaches, never a mixture.
    func flag(tensor: String, t: Double) -> Bool? {
        switch self {
        case .gradient(let values): return values[Int(t * Double(values.count - 1))] != 0
        case .filtered(let choices):
            return choices.first { $0.filter.map(tensor.contains) ?? true }?.value.flag(tensor: tensor, t: t)
        }
    }
}
