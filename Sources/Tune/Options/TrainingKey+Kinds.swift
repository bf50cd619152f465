import Base

/// The kinds of keys: each makes a key of a name, a help text, what is allowed and where the value is.
extension TrainingKey {
    typealias Path<T> = any WritableKeyPath<TrainingOptions, T> & Sendable

    init(
        _ name: String, _ help: String, form: Form = .value, isOperational: Bool = false,
        read: @escaping @Sendable (TrainingOptions) -> JSONValue,
        write: @escaping @Sendable (inout TrainingOptions, JSONValue) throws -> Void
    ) {
        self.name = name
        self.help = help
        self.form = form
        self.isOperational = isOperational
        self.read = read
        self.write = write
    }

    static func wrong(_ name: String, _ value: JSONValue, _ expected: String) -> MeraserError {
        .usage("`\(name)`: \(value.serialized()), expected \(expected)")
    }

    static func int(
        _ name: String, _ help: String, _ range: ClosedRange<Int>, isOperational: Bool = false, _ path: Path<Int>
    ) -> TrainingKey {
        TrainingKey(name, help, isOperational: isOperational, read: { .integer($0[keyPath: path]) }) { options, value in
            guard let number = value.int, range.contains(number) else {
                throw wrong(name, value, "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = number
        }
    }

    static func optionalInt(
        _ name: String, _ help: String, _ range: ClosedRange<Int>, none: Int? = nil, isOperational: Bool = false,
        _ path: Path<Int?>
    ) -> TrainingKey {
        TrainingKey(
            name, help, isOperational: isOperational, read: { $0[keyPath: path].map { .integer($0) } ?? .null }
        ) { options, value in
            let number = value.int.flatMap { $0 == none ? nil : $0 }
            let isNone = value.isNull || (none != nil && value.int == none)
            guard isNone || number.map(range.contains) == true else {
                throw wrong(name, value, "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = number
        }
    }

    static func real(
        _ name: String, _ help: String, _ range: ClosedRange<Double>, _ path: Path<Double>
    ) -> TrainingKey {
        TrainingKey(name, help, read: { .real($0[keyPath: path]) }) { options, value in
            guard let number = value.double, range.contains(number) else {
                throw wrong(name, value, "a number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = number
        }
    }

    static func optionalReal(
        _ name: String, _ help: String, _ range: ClosedRange<Double>, _ path: Path<Double?>
    ) -> TrainingKey {
        TrainingKey(name, help, read: { $0[keyPath: path].map { .real($0) } ?? .null }) { options, value in
            guard value.isNull || value.double.map(range.contains) == true else {
                throw wrong(name, value, "a number from \(range.lowerBound) to \(range.upperBound)")
            }
            options[keyPath: path] = value.double
        }
    }

    static func flag(
        _ name: String, _ help: String, isOperational: Bool = false, _ path: Path<Bool>
    ) -> TrainingKey {
        TrainingKey(
            name, help, form: .on, isOperational: isOperational, read: { .bool($0[keyPath: path]) }
        ) { options, value in
            guard let flag = value.bool else { throw wrong(name, value, "true or false") }
            options[keyPath: path] = flag
        }
    }

    static func optionalFlag(_ name: String, _ help: String, _ path: Path<Bool?>) -> TrainingKey {
        TrainingKey(
            name, help, form: .onOrOff, read: { $0[keyPath: path].map { .bool($0) } ?? .null }
        ) { options, value in
            guard value.isNull || value.bool != nil else { throw wrong(name, value, "true or false") }
            options[keyPath: path] = value.bool
        }
    }

    static func optionalText(_ name: String, _ help: String, _ path: Path<String?>) -> TrainingKey {
        TrainingKey(name, help, read: { $0[keyPath: path].map { .text($0) } ?? .null }) { options, value in
            guard value.isNull || value.string != nil else { throw wrong(name, value, "a string") }
            options[keyPath: path] = value.string
        }
    }

    /// The record of a run is published with its adapter: it must not show where files lie.
    static func file(_ name: String, _ help: String, _ path: Path<String?>) -> TrainingKey {
        TrainingKey(
            name, help, form: .path,
            read: { $0[keyPath: path].map { .text(fileName(ofPath: $0)) } ?? .null }
        ) { options, value in
            guard value.isNull || value.string != nil else { throw wrong(name, value, "a string") }
            options[keyPath: path] = value.string
        }
    }

    /// A dataset, one file or several (`DatasetList`), which the record shows by their names.
    static func dataset(_ name: String, _ help: String, _ path: Path<String?>) -> TrainingKey {
        TrainingKey(
            name, help, form: .path,
            read: { options in
                guard let text = options[keyPath: path] else { return .null }
                return .text((try? DatasetList(text))?.mapPaths(fileName(ofPath:)).text ?? fileName(ofPath: text))
            }
        ) { options, value in
            guard value.isNull || value.string != nil else { throw wrong(name, value, "a string") }
            options[keyPath: path] = value.string
        }
    }

    static func choice<T: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ help: String, isOperational: Bool = false, _ path: Path<T>
    ) -> TrainingKey {
        TrainingKey(
            name, help, isOperational: isOperational, read: { .text($0[keyPath: path].rawValue) }
        ) { options, value in
            options[keyPath: path] = try chosen(name, value)
        }
    }

    static func optionalChoice<T: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ help: String, _ path: Path<T?>
    ) -> TrainingKey {
        TrainingKey(name, help, read: { $0[keyPath: path].map { .text($0.rawValue) } ?? .null }) { options, value in
            options[keyPath: path] = value.isNull ? nil : try chosen(name, value) as T
        }
    }

    static func chosen<T: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ name: String, _ value: JSONValue
    ) throws -> T {
        guard let choice = value.string.flatMap(T.init(rawValue:)) else {
            throw wrong(name, value, "one of " + T.allCases.map(\.rawValue).joined(separator: " "))
        }
        return choice
    }
}
