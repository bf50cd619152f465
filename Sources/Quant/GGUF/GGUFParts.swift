import Base

/// The files of one GGUF model: the one that is named, or all parts that `llama-gguf-split` made of it.
///
/// Source of names and keys: llama.cpp, `llama_split_path` and llama-model-loader.cpp.
struct GGUFParts {
    /// In order; the first has the metadata.
    let files: [GGUFFile]

    /// Opens a file and, if it is the first of several parts, the others beside it. Errors (`badInput`): it is another part,
    /// or one is missing, says another number or count, or has a tensor that an earlier one has.
    init(path: String) throws {
        let first = try GGUFFile(path: path)
        let split = try Split(first)
        // A model that was put together again says 0.
        guard let split, split.count > 1 else {
            files = [first]
            return
        }
        let (beginning, number) = Self.beginning(of: path, count: split.count)
        guard split.number == 0 else {
            throw MeraserError.badInput(
                "\(path) is part \(split.number + 1) of \(split.count) of a GGUF file; give the first part"
                    + (number == nil ? "" : ", \(Self.name(beginning, 0, split.count))"))
        }
        guard number == 1 else {
            throw MeraserError.badInput(
                "\(path) is the first of \(split.count) parts of a GGUF file; its name must end in "
                    + "\(Self.name("", 0, split.count)), so that the others can be found")
        }
        var files = [first]
        for part in 1..<split.count {
            files.append(try Self.open(Self.name(beginning, part, split.count), part, of: split, first: first))
        }
        var owners: [[UInt8]: String] = [:]
        for file in files {
            for tensor in file.tensors {
                if let owner = owners.updateValue(file.path, forKey: Array(tensor.name.utf8)) {
                    throw MeraserError.badInput("\(file.path): tensor \(quoted(tensor.name)) is in \(owner) too")
                }
            }
        }
        guard owners.count == split.tensorCount else {
            throw MeraserError.badInput(
                "\(path): the \(split.count) parts have \(owners.count) tensors, 'split.tensors.count' says "
                    + "\(split.tensorCount)")
        }
        self.files = files
    }

    private static func open(_ path: String, _ part: Int, of split: Split, first: GGUFFile) throws -> GGUFFile {
        let file: GGUFFile
        do {
            file = try GGUFFile(path: path)
        } catch let error as MeraserError {
            throw MeraserError.badInput(
                "part \(part + 1) of \(split.count) of \(first.path) is missing or damaged: \(error.message)")
        }
        let found = try Split(file)
        guard let found, found == Split(number: part, count: split.count, tensorCount: split.tensorCount) else {
            let what = found.map { "part \($0.number + 1) of \($0.count) with \($0.tensorCount) tensors in all" }
            throw MeraserError.badInput(
                "\(path) says that it is \(what ?? "no part"), expected part \(part + 1) of \(split.count) with "
                    + "\(split.tensorCount) tensors in all, as \(first.path) says")
        }
        let key = "general.architecture"
        if let architecture = file.metadata.string(key), architecture != first.metadata.string(key) {
            throw MeraserError.badInput(
                "\(path) belongs to another model than \(first.path): \(key) is \(quoted(architecture))")
        }
        return file
    }

    /// `NAME-00002-of-00003.gguf`.
    private static func name(_ beginning: String, _ part: Int, _ count: Int) -> String {
        func digits(_ number: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, 5 - text.count)) + text
        }
        return "\(beginning)-\(digits(part + 1))-of-\(digits(count)).gguf"
    }

    /// What a part's path begins with, and the part's number in it, from 1; the whole path where it does not end as a
    /// part's does.
    private static func beginning(of path: String, count: Int) -> (String, number: Int?) {
        let ending = name("", 0, count).dropFirst("-00001".count)
        guard path.hasSuffix(ending) else { return (path, nil) }
        let rest = path.dropLast(ending.count)
        guard let dash = rest.lastIndex(of: "-"), let number = Int(rest[dash...].dropFirst()) else {
            return (path, nil)
        }
        return (String(rest[..<dash]), number)
    }
}

/// What a part says about itself.
private struct Split: Equatable {
    /// `split.no`, from 0.
    let number: Int
    /// `split.count`.
    let count: Int
    /// `split.tensors.count`, over all parts.
    let tensorCount: Int

    init(number: Int, count: Int, tensorCount: Int) {
        (self.number, self.count, self.tensorCount) = (number, count, tensorCount)
    }

    /// Nil for a file that is no part. Errors (`badInput`): a key that is missing or no count.
    init?(_ file: GGUFFile) throws {
        func value(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
            guard let number = file.metadata.int(key), range.contains(number) else {
                let found = file.metadata[key].map { "is \($0)" } ?? "is missing"
                throw MeraserError.badInput(
                    "\(file.path): '\(key)' \(found), expected \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        guard file.metadata["split.count"] != nil else { return nil }
        count = try value("split.count", 0...65_535)
        guard count > 1 else { return nil }
        number = try value("split.no", 0...count - 1)
        tensorCount = try value("split.tensors.count", 1...1 << 31)
    }
}
