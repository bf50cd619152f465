/// What one rank tells another: numbers, texts and lists, one after the other, in the machine's own order of bytes.
public struct Message: Sendable {
    /// What it is on the way.
    public private(set) var bytes: [UInt8] = []

    /// An empty message.
    public init() {}

    /// A message of that value.
    public init(_ value: some Sent) { append(value) }

    /// Adds a number.
    public mutating func append<T: BitwiseCopyable>(number value: T) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    /// Adds numbers with their count.
    public mutating func append<T: BitwiseCopyable>(numbers values: [T]) {
        append(number: values.count)
        values.withUnsafeBytes { bytes.append(contentsOf: $0) }
    }

    /// Adds a text.
    public mutating func append(_ text: String) { append(numbers: Array(text.utf8)) }

    /// Adds a truth.
    public mutating func append(_ value: Bool) { append(number: UInt8(value ? 1 : 0)) }

    /// Adds a value.
    public mutating func append(_ value: some Sent) { value.write(to: &self) }

    /// Adds values with their count.
    public mutating func append(_ values: [some Sent]) {
        append(number: values.count)
        for value in values { append(value) }
    }

    /// Adds whether there is a value, and the value.
    public mutating func append<T: BitwiseCopyable>(optional value: T?) {
        append(value != nil)
        if let value { append(number: value) }
    }
}

/// A value that can be a part of a message.
public protocol Sent {
    /// Reads what `write` wrote.
    init(from message: inout MessageReader) throws
    /// Adds itself to a message.
    func write(to message: inout Message)
}

/// Reads a message from its beginning on.
public struct MessageReader {
    private let bytes: [UInt8]
    private var next = 0

    /// The message of these bytes.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    private mutating func take(_ count: Int) throws -> Range<Int> {
        guard count >= 0, count <= bytes.count - next else {
            throw MeraserError.runtime("a message of \(bytes.count) bytes from another rank ends at byte \(next)")
        }
        defer { next += count }
        return next..<next + count
    }

    /// The next number. Of `T` every pattern of bits must be a value.
    public mutating func number<T: BitwiseCopyable>(_ type: T.Type = T.self) throws -> T {
        let range = try take(MemoryLayout<T>.size)
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: range.lowerBound, as: type) }
    }

    /// The next numbers.
    public mutating func numbers<T: BitwiseCopyable>(_ type: T.Type = T.self) throws -> [T] {
        let count = try number(Int.self)
        let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<T>.stride)
        let range = try take(overflow ? -1 : size)
        return [T](unsafeUninitializedCapacity: count) { target, initialized in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(target).copyMemory(from: .init(rebasing: $0[range])) }
            initialized = count
        }
    }

    /// The next text.
    public mutating func text() throws -> String { String(decoding: try numbers(UInt8.self), as: UTF8.self) }

    /// The next truth.
    public mutating func bool() throws -> Bool { try number(UInt8.self) != 0 }

    /// The next value.
    public mutating func value<T: Sent>(_ type: T.Type = T.self) throws -> T { try T(from: &self) }

    /// The next values.
    public mutating func values<T: Sent>(_ type: T.Type = T.self) throws -> [T] {
        let count = try number(Int.self)
        return try (0..<max(0, count)).map { _ in try value(type) }
    }

    /// The next value, if there is one.
    public mutating func optional<T: BitwiseCopyable>(_ type: T.Type = T.self) throws -> T? {
        try bool() ? try number(type) : nil
    }
}

extension String: Sent {
    /// Reads a text.
    public init(from message: inout MessageReader) throws { self = try message.text() }
    /// Adds it.
    public func write(to message: inout Message) { message.append(self) }
}
