import Base

/// Python's slices and ranges.
enum TemplateSlice {
    /// The longest range.
    static let maximumRange = 100_000

    /// `base[start:stop:step]` of a list or a string.
    static func slice(
        _ base: TemplateValue, _ start: Int?, _ stop: Int?, _ step: Int?, error: (String) -> MeraserError
    ) throws -> TemplateValue {
        switch base {
        case .list(let elements):
            return .list(try indices(elements.count, start, stop, step, error).map { elements[$0] })
        case .tuple(let elements):
            return .tuple(try indices(elements.count, start, stop, step, error).map { elements[$0] })
        case .string(let text):
            let scalars = Array(text.unicodeScalars)
            var result = String.UnicodeScalarView()
            for index in try indices(scalars.count, start, stop, step, error) { result.append(scalars[index]) }
            return .string(String(result))
        default:
            throw error("a slice of \(base.kind)")
        }
    }

    private static func indices(
        _ count: Int, _ start: Int?, _ stop: Int?, _ step: Int?, _ error: (String) -> MeraserError
    ) throws -> [Int] {
        let step = step ?? 1
        guard step != 0, step != Int.min else { throw error("a slice's step is \(step)") }
        func clamp(_ bound: Int, _ low: Int, _ high: Int) -> Int {
            min(max(bound < 0 ? bound + count : bound, low), high)
        }
        if step > 0 {
            let low = clamp(start ?? 0, 0, count)
            let high = clamp(stop ?? count, 0, count)
            return Array(stride(from: low, to: high, by: min(step, max(1, count))))
        }
        let high = start.map { clamp($0, -1, count - 1) } ?? count - 1
        let low = stop.map { clamp($0, -1, count - 1) } ?? -1
        return Array(stride(from: high, to: low, by: max(step, -max(1, count))))
    }

    /// `range(stop)`, `range(start, stop)`, `range(start, stop, step)`.
    static func range(_ arguments: [Int?], error: (String) -> MeraserError) throws -> TemplateValue {
        let numbers = arguments.compactMap { $0 }
        guard numbers.count == arguments.count, (1...3).contains(numbers.count) else {
            throw error("range() takes one to three integers")
        }
        let start = numbers.count > 1 ? numbers[0] : 0
        let stop = numbers.count > 1 ? numbers[1] : numbers[0]
        let step = numbers.count > 2 ? numbers[2] : 1
        let (distance, overflows) = stop.subtractingReportingOverflow(start)
        guard step != 0, !overflows, distance.magnitude / step.magnitude <= maximumRange else {
            throw error("range() is longer than \(maximumRange) or has a step of 0")
        }
        return .list(stride(from: start, to: stop, by: step).map { .integer($0) })
    }
}
