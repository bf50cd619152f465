import Base
import CKernels

/// One file of `torch.save` (since PyTorch 1.6: a zip archive with a pickle and a member for each storage), its tensors found
/// and checked; nothing of it is ever called. Thread-safe.
///
/// Source: torch/serialization.py (`_save`, `_load`).
struct PyTorchFile: Sendable {
    /// The tensors by name.
    let tensors: [[UInt8]: PyTorchTensor]

    /// The longest pickle that is read; one tensor takes about 200 bytes.
    private static let maximumPickleByteCount = 32 << 20

    /// Reads the pickle and checks every tensor's place. Errors (`badInput`): no such archive, a pickle that does anything
    /// else than build tensors, a tensor beyond its storage.
    init(path: String) throws {
        let file = try MappedFile(path: path)
        guard ZipArchive.isZip(path: path) else {
            let isLegacy = file.withBytes { $0[0] == 0x80 }
            throw MeraserError.badInput(
                isLegacy
                    ? "\(path) is a pickle in torch.save's format before PyTorch 1.6, which is not read; save the model again "
                        + "with safetensors (transformers: save_pretrained)"
                    : "\(path) is no file of torch.save: it is no zip archive")
        }
        let zip = try ZipArchive(file)
        // It lies in a folder of any name, with the storages beside it.
        let pickles = zip.members.keys.filter { name in
            name.split(separator: UInt8(ascii: "/")).count == 2 && name.suffix(9).elementsEqual("/data.pkl".utf8)
        }
        guard pickles.count == 1, let name = pickles.first, let pickle = zip.members[name] else {
            throw MeraserError.badInput(
                "\(path) is no file of torch.save: \(pickles.count) members are a data.pkl, expected 1")
        }
        guard pickle.byteCount <= Self.maximumPickleByteCount else {
            throw MeraserError.badInput(
                "\(path): data.pkl has \(pickle.byteCount) bytes, expected at most \(Self.maximumPickleByteCount)")
        }
        let root = name.dropLast("data.pkl".utf8.count)
        func bytes(_ member: ZipArchive.Member) -> UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(start: file.baseAddress + member.offset, count: member.byteCount)
        }
        if let order = zip.members[root + Array("byteorder".utf8)], !bytes(order).elementsEqual("little".utf8) {
            throw MeraserError.badInput("\(path): the numbers are not little-endian, which is not read")
        }
        let found = try PickleReader.tensors(bytes(pickle), label: "\(path): data.pkl")
        tensors = Dictionary(
            uniqueKeysWithValues: try found.map { name, tensor in
                let member = zip.members[root + Array("data/\(tensor.storage.key)".utf8)]
                return (Array(name.utf8), try PyTorchTensor(tensor, name: name, member: member, file: file))
            })
        withExtendedLifetime(file) {}
    }
}

/// A tensor of a `PyTorchFile`: elements of a storage, some strides apart. Thread-safe.
struct PyTorchTensor: TensorRows {
    let name: String
    let shape: [Int]
    let type: PyTorchType
    let file: MappedFile
    /// Where its first element lies in the file.
    let offset: Int
    /// Bytes from one index of a dimension to the next.
    private let strides: [Int]

    /// Errors (`badInput`): the storage is missing or has another size, or does not hold every element.
    init(_ tensor: PickledTensor, name: String, member: ZipArchive.Member?, file: MappedFile) throws {
        func bad(_ what: String) -> MeraserError { .badInput("\(file.path): tensor \(quoted(name)) \(what)") }
        let (storage, size) = (tensor.storage, tensor.storage.type.byteCount)
        guard let member else { throw bad("lies in the storage \(quoted(storage.key)), which is not in the file") }
        guard product(storage.count, size) == member.byteCount else {
            throw bad(
                "lies in a storage of \(storage.count) \(storage.type.rawValue), of which the file has "
                    + "\(member.byteCount) bytes")
        }
        guard tensor.offset >= 0, tensor.shape.count == tensor.strides.count,
            (tensor.shape + tensor.strides).allSatisfy({ $0 >= 0 })
        else { throw bad("has the shape \(tensor.shape) with strides \(tensor.strides) from \(tensor.offset)") }
        var (count, last): (Int?, Int?) = (1, tensor.offset)
        for (length, stride) in zip(tensor.shape, tensor.strides) where !tensor.shape.contains(0) {
            count = count.flatMap { product($0, length) }
            last = last.flatMap { last in product(length - 1, stride).flatMap { sum(last, $0) } }
        }
        guard let count, let last, tensor.shape.contains(0) || last < storage.count, count <= storage.count else {
            throw bad(
                "of shape \(tensor.shape) with strides \(tensor.strides) from \(tensor.offset) does not fit its storage of "
                    + "\(storage.count) elements")
        }
        (self.name, self.file, shape, type) = (name, file, tensor.shape, storage.type)
        strides = tensor.strides.map { $0 * size }  // bounded: by the storage, or not used
        offset = member.offset + min(tensor.offset, storage.count) * size  // bounded: by the storage
    }

    /// What a source says of it. Errors (`badInput`): a type that is not computed with, or not one or two dimensions.
    func entry() throws -> TensorEntry {
        func bad(_ what: String) -> MeraserError { .badInput("\(file.path): tensor \(quoted(name)) has \(what)") }
        guard let type = type.type else { throw bad("dtype \(type.rawValue), expected float32, float16 or bfloat16") }
        guard let count = byteCount(of: type, shape: shape) else {
            throw bad("shape \(shape), expected one or two dimensions of at least 1")
        }
        return TensorEntry(
            name: name, shape: shape, exactType: type, byteCount: count, path: file.path, offset: offset)
    }

    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        guard let type = type.type, let columns = shape.last else { preconditionFailure("\(name) has no rows") }
        let size = self.type.byteCount
        let count = range.count * columns  // bounded: elements of the tensor
        let byteCount = count * size  // bounded: no more than the storage
        if raw.count < byteCount { raw = [UInt8](repeating: 0, count: byteCount) }
        try raw.withUnsafeMutableBytes { bytes in
            try gather(range, columns, UnsafeMutableRawBufferPointer(rebasing: bytes[..<byteCount]))
            var matrix = mk_matrix(
                type: Int32(type.rawValue), rows: 1, cols: Int64(count), data: UnsafeRawPointer(bytes.baseAddress))
            mk_dequantize(&matrix, 0, 1, target)
        }
    }

    /// The elements of those rows, one after the other.
    private func gather(_ range: Range<Int>, _ columns: Int, _ target: UnsafeMutableRawBufferPointer) throws {
        let size = type.byteCount
        let (rowStride, columnStride) = (shape.count == 2 ? strides[0] : 0, strides[shape.count - 1])
        let rowByteCount = columns * size  // bounded: no more than the storage
        guard columnStride == size || columns == 1 else {
            let source = UnsafeRawBufferPointer(start: file.baseAddress, count: file.count)
            for row in 0..<range.count {
                let start = offset + (range.lowerBound + row) * rowStride  // bounded: by the storage
                for column in 0..<columns {
                    let place = start + column * columnStride  // bounded: by the storage
                    let end = row * rowByteCount + column * size  // bounded: by the target
                    for byte in 0..<size { target[end + byte] = source[place + byte] }
                }
            }
            return
        }
        // What lies together in the file is read at once.
        let step = rowStride == rowByteCount ? range.count : 1
        for row in stride(from: 0, to: range.count, by: max(1, step)) {
            let part = target[row * rowByteCount..<(row + step) * rowByteCount]  // bounded: as above
            let place = offset + (range.lowerBound + row) * rowStride  // bounded: as above
            try file.read(into: UnsafeMutableRawBufferPointer(rebasing: part), at: place)
        }
    }
}
