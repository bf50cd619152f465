import Base

/// Runs the steps of a pickle that build a dictionary of tensors, and nothing else: what names any other function or class,
/// or takes any other step, is refused by name. Nothing of the file is ever called.
///
/// Values refer to tuples and dictionaries by number, so that no nesting costs stack; every step costs a byte of the file, so
/// that time and memory are bounded by its length. Source: CPython, Lib/pickle.py and pickletools.py; torch/serialization.py.
struct PickleReader {
    /// What lies on the stack.
    enum Value {
        case none, mark, real
        case bool(Bool)
        case integer(Int)
        case text(String)
        case global(PickleGlobal)
        case tuple(Int)
        case dictionary(Int)
        case storage(PickledStorage)
        case tensor(PickledTensor)
    }

    /// The most values on the stack; torch's pickles have up to two for each of a thousand tensors.
    private static let maximumDepth = 1 << 20

    private var reader: ByteReader
    private var stack: [Value] = []
    private var memo: [Int: Value] = [:]
    private var tuples: [[Value]] = []
    private var dictionaries: [[(key: Value, value: Value)]] = []

    /// The tensors of the dictionary that a pickle builds, by name in its order. `label` is its name for errors.
    ///
    /// Errors (`badInput`): a step, function or class that is not read, what ends too early, a value that is no tensor.
    static func tensors(
        _ bytes: UnsafeRawBufferPointer, label: String
    ) throws -> [(name: String, tensor: PickledTensor)] {
        var pickle = PickleReader(reader: ByteReader(bytes, label: label))
        guard case .dictionary(let number) = try pickle.run() else {
            throw MeraserError.badInput("\(label) holds no dictionary of tensors")
        }
        var names: Set<[UInt8]> = []
        return try pickle.dictionaries[number].map { key, value in
            guard case .text(let name) = key, !name.isEmpty else {
                throw MeraserError.badInput("\(label): a key of the dictionary is no name of a tensor")
            }
            guard case .tensor(let tensor) = value else {
                throw MeraserError.badInput("\(label): \(quoted(name)) is no tensor; expected a state dict")
            }
            guard names.insert(Array(name.utf8)).inserted else {
                throw MeraserError.badInput("\(label): tensor \(quoted(name)) is in it twice")
            }
            return (name, tensor)
        }
    }

    private init(reader: ByteReader) { self.reader = reader }

    /// Runs to STOP and gives what lies on top.
    private mutating func run() throws -> Value {
        while true {
            let code = try reader.integer(UInt8.self, "the next step")
            if code == UInt8(ascii: ".") { return try pop() }
            try step(code)
            guard stack.count <= Self.maximumDepth else {
                throw reader.error("more than \(Self.maximumDepth) values wait")
            }
        }
    }

    private mutating func step(_ code: UInt8) throws {
        switch code {
        case 0x80: _ = try reader.take(1, "the protocol")
        case 0x95: _ = try reader.take(8, "a frame's length")
        case UInt8(ascii: "("): stack.append(.mark)
        case UInt8(ascii: "N"): stack.append(.none)
        case 0x88: stack.append(.bool(true))
        case 0x89: stack.append(.bool(false))
        case UInt8(ascii: "J"): stack.append(.integer(Int(try reader.integer(Int32.self, "a number"))))
        case UInt8(ascii: "K"): stack.append(.integer(Int(try reader.integer(UInt8.self, "a number"))))
        case UInt8(ascii: "M"): stack.append(.integer(Int(try reader.integer(UInt16.self, "a number"))))
        case 0x8A: stack.append(.integer(try long()))
        case UInt8(ascii: "G"):
            _ = try reader.take(8, "a number")
            stack.append(.real)
        case UInt8(ascii: "X"): stack.append(.text(try text(Int(try reader.integer(UInt32.self, "a length")))))
        case 0x8C: stack.append(.text(try text(Int(try reader.integer(UInt8.self, "a length")))))
        case UInt8(ascii: ")"): push(tuple: [])
        case 0x85, 0x86, 0x87:
            let count = Int(code) - 0x84
            guard stack.count >= count else { throw reader.error("a tuple of \(count) lacks values") }
            push(tuple: try (0..<count).map { _ in try pop() }.reversed())
        case UInt8(ascii: "t"): push(tuple: try popToMark())
        case UInt8(ascii: "}"): pushDictionary()
        case UInt8(ascii: "s"):
            let value = try pop()
            try set([try pop(), value])
        case UInt8(ascii: "u"): try set(try popToMark())
        case UInt8(ascii: "q"): try put(Int(try reader.integer(UInt8.self, "a memo's number")))
        case UInt8(ascii: "r"): try put(Int(try reader.integer(UInt32.self, "a memo's number")))
        case 0x94: try put(memo.count)
        case UInt8(ascii: "h"): try get(Int(try reader.integer(UInt8.self, "a memo's number")))
        case UInt8(ascii: "j"): try get(Int(try reader.integer(UInt32.self, "a memo's number")))
        case UInt8(ascii: "c"): stack.append(try global(module: try line(), name: try line()))
        case 0x93:
            guard case .text(let name) = try pop(), case .text(let module) = try pop() else {
                throw reader.error("a global's name is no text")
            }
            stack.append(try global(module: module, name: name))
        case UInt8(ascii: "Q"): stack.append(try storage(try pop()))
        case UInt8(ascii: "R"):
            let arguments = try pop()
            try call(try pop(), try elements(arguments, "the arguments of a call"))
        case UInt8(ascii: "b"):
            // What is set on a dictionary is `_metadata`: the versions of modules.
            guard case .dictionary = try pop(), case .dictionary = stack.last else {
                throw reader.error("BUILD sets something else than the metadata of a dictionary")
            }
        default:
            throw reader.error("the step \(PickleStep.name(code)) builds no tensor and is not taken")
        }
    }

    // MARK: Stack

    private mutating func pop() throws -> Value {
        guard let value = stack.popLast() else { throw reader.error("a step lacks a value") }
        if case .mark = value { throw reader.error("a step lacks a value") }
        return value
    }

    /// What lies above the last mark, which goes.
    private mutating func popToMark() throws -> [Value] {
        let mark = stack.lastIndex { if case .mark = $0 { true } else { false } }
        guard let mark else { throw reader.error("a step lacks its mark") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[(mark + 1)...])
    }

    private mutating func push(tuple: [Value]) {
        stack.append(.tuple(tuples.count))
        tuples.append(tuple)
    }

    private mutating func pushDictionary() {
        stack.append(.dictionary(dictionaries.count))
        dictionaries.append([])
    }

    private mutating func set(_ items: [Value]) throws {
        guard case .dictionary(let number) = stack.last, items.count % 2 == 0 else {
            throw reader.error("items are set on what is no dictionary")
        }
        for place in stride(from: 0, to: items.count, by: 2) {
            dictionaries[number].append((items[place], items[place + 1]))
        }
    }

    private mutating func put(_ number: Int) throws {
        guard let value = stack.last else { throw reader.error("there is nothing to remember") }
        memo[number] = value
    }

    private mutating func get(_ number: Int) throws {
        guard let value = memo[number] else { throw reader.error("nothing was remembered as \(number)") }
        stack.append(value)
    }

    private func elements(_ value: Value, _ what: String) throws -> [Value] {
        guard case .tuple(let number) = value else { throw reader.error("\(what) are no tuple") }
        return tuples[number]
    }

    // MARK: Numbers and texts

    /// A signed number of up to 8 bytes.
    private mutating func long() throws -> Int {
        let count = Int(try reader.integer(UInt8.self, "a length"))
        guard count <= 8 else { throw reader.error("a number has \(count) bytes, expected up to 8") }
        let bytes = try reader.take(count, "a number")
        var value = (bytes.last ?? 0) >= 0x80 ? -1 : 0
        for byte in bytes.reversed() { value = value << 8 | Int(byte) }  // bounded: 8 bytes
        return value
    }

    private mutating func text(_ count: Int) throws -> String {
        guard let text = String(validating: try reader.take(count, "a text"), as: UTF8.self) else {
            throw reader.error("a text is not valid UTF-8")
        }
        return text
    }

    /// The bytes up to the end of the line.
    private mutating func line() throws -> String {
        var bytes: [UInt8] = []
        while case let byte = try reader.integer(UInt8.self, "a name"), byte != UInt8(ascii: "\n") {
            guard bytes.count < 256 else { throw reader.error("a name is longer than 256 bytes") }
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: Tensors

    private func global(module: String, name: String) throws -> Value {
        guard let global = PickleGlobal(module: module, name: name) else {
            throw reader.error("the global \(quoted("\(module).\(name)")) builds no tensor and is not called")
        }
        return .global(global)
    }

    /// `('storage', class, key, device, elements)`.
    private func storage(_ value: Value) throws -> Value {
        let parts = try elements(value, "the parts of a storage")
        guard parts.count == 5, case .text("storage") = parts[0], case .global(.storage(let type)) = parts[1],
            case .text(let key) = parts[2], case .integer(let count) = parts[4], count >= 0
        else { throw reader.error("a persistent id is not that of a storage") }
        return .storage(PickledStorage(key: key, type: type, count: count))
    }

    private mutating func call(_ function: Value, _ arguments: [Value]) throws {
        switch function {
        case .global(.orderedDict):
            guard arguments.isEmpty else { throw reader.error("OrderedDict is called with arguments") }
            pushDictionary()
        case .global(.rebuildParameter):
            guard case .tensor(let tensor) = arguments.first else { throw reader.error("a parameter is no tensor") }
            stack.append(.tensor(tensor))
        case .global(.rebuildTensor):
            guard arguments.count >= 4, case .storage(let storage) = arguments[0],
                case .integer(let offset) = arguments[1]
            else { throw reader.error("a tensor has no storage or no place in it") }
            func numbers(_ value: Value) throws -> [Int] {
                try elements(value, "a tensor's size and strides").map {
                    guard case .integer(let number) = $0 else {
                        throw reader.error("a size or stride is no whole number")
                    }
                    return number
                }
            }
            stack.append(
                .tensor(
                    PickledTensor(
                        storage: storage, offset: offset, shape: try numbers(arguments[2]),
                        strides: try numbers(arguments[3]))))
        default: throw reader.error("REDUCE calls what is no function")
        }
    }
}
