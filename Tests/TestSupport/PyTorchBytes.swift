import Foundation

/// The bytes of a file of `torch.save`, put together by tests, true or spoilt.
public struct PyTorchBytes {
    /// `data.pkl`.
    public var pickle: [UInt8]
    /// Members beside `data.pkl`, by their names in the archive's folder.
    public var members: [(name: String, bytes: [UInt8])] = []
    /// The method of all members: 0 is stored, 8 compressed.
    public var method: UInt16 = 0

    /// A dictionary with tensor `w` of storage `0`, which has 6 numbers: elements from `offset` on.
    public init(
        shape: [Int] = [2, 3], strides: [Int] = [3, 1], offset: Int = 0, count: Int = 6,
        storage: String = "FloatStorage"
    ) {
        var parts: [[UInt8]] = [Array("\u{2}".utf8), Array("}".utf8), Self.text("w")]
        parts[0] = [0x80, 2]
        parts.append(Self.global("torch._utils", "_rebuild_tensor_v2") + Array("(".utf8))
        parts.append(Array("(".utf8) + Self.text("storage") + Self.global("torch", storage))
        parts.append(Self.text("0") + Self.text("cpu") + Self.number(count) + Array("tQ".utf8))
        parts.append(Self.number(offset) + Self.tuple(shape) + Self.tuple(strides) + [0x89])
        parts.append(Self.global("collections", "OrderedDict") + Array(")RtRs.".utf8))
        pickle = parts.flatMap { $0 }
        members = [
            ("data/0", (0..<6).flatMap { i in withUnsafeBytes(of: Float(i).bitPattern.littleEndian) { Array($0) } })
        ]
    }

    /// A pickle of those bytes alone.
    public init(pickle: [UInt8]) { self.pickle = pickle }

    /// A unicode string of the pickle, at most 255 bytes.
    public static func text(_ text: String) -> [UInt8] { [0x58, UInt8(text.utf8.count), 0, 0, 0] + Array(text.utf8) }
    /// A global of the pickle.
    public static func global(_ module: String, _ name: String) -> [UInt8] { Array("c\(module)\n\(name)\n".utf8) }
    /// A number of the pickle.
    public static func number(_ value: Int) -> [UInt8] { [0x8A, 8] + little(UInt64(bitPattern: Int64(value))) }
    /// A tuple of numbers.
    public static func tuple(_ values: [Int]) -> [UInt8] { Array("(".utf8) + values.flatMap(number) + Array("t".utf8) }
    /// The bytes of a number.
    public static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    /// The archive.
    public var bytes: [UInt8] {
        var (file, directory): ([UInt8], [UInt8]) = ([], [])
        let all = [(name: "data.pkl", bytes: pickle)] + members
        for (name, bytes) in all {
            let path = Array("archive/\(name)".utf8)
            let sizes = Self.little(UInt32(bytes.count)) + Self.little(UInt32(bytes.count))
            let head = Self.little(UInt16(0)) + Self.little(method) + [0, 0, 0, 0, 0, 0, 0, 0] + sizes
            let length = Self.little(UInt16(path.count))
            directory +=
                Self.little(0x0201_4B50 as UInt32) + [20, 0, 20, 0] + head + length + [UInt8](repeating: 0, count: 12)
            directory += Self.little(UInt32(file.count)) + path
            file += Self.little(0x0403_4B50 as UInt32) + [20, 0] + head + length + [0, 0] + path + bytes
        }
        let count = Self.little(UInt16(all.count))
        let end = Self.little(0x0605_4B50 as UInt32) + [0, 0, 0, 0] + count + count
        return file + directory + end + Self.little(UInt32(directory.count)) + Self.little(UInt32(file.count)) + [0, 0]
    }
}
