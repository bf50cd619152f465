import Base

/// A reader of files as a function of bytes, for fuzzing and for the tests that spoil whole files.
///
/// A file is accepted, or it is refused with one clear line; everything else is a finding.
public struct FuzzTarget: Sendable {
    /// What it is called on the command line.
    public let name: String
    /// The most bytes that are tried.
    public let maximumLength: Int
    /// Small files that are accepted, made anew.
    let seeds: @Sendable (Scratch) throws -> [[UInt8]]
    /// Reads a file and all that is in it.
    private let read: @Sendable ([UInt8], Scratch) throws -> Void

    init(
        _ name: String, maximumLength: Int = 4096, seeds: @escaping @Sendable (Scratch) throws -> [[UInt8]],
        read: @escaping @Sendable ([UInt8], Scratch) throws -> Void
    ) {
        (self.name, self.maximumLength, self.seeds, self.read) = (name, maximumLength, seeds, read)
    }

    /// A reader of texts, with its seeds.
    init(
        _ name: String, maximumLength: Int = 4096, texts: [String],
        read: @escaping @Sendable ([UInt8], Scratch) throws -> Void
    ) {
        self.init(name, maximumLength: maximumLength, seeds: { _ in texts.map { Array($0.utf8) } }, read: read)
    }

    /// Every reader.
    public static let all: [FuzzTarget] = weights + adapters + texts + data + plans + records + requests

    /// The seeds, each of which is accepted.
    ///
    /// - Throws: what a reader says against one, which is a mistake of the target.
    public func acceptedSeeds(in scratch: Scratch) throws -> [[UInt8]] {
        let files = try seeds(scratch)
        for file in files { try read(file, scratch) }
        return files
    }

    /// True if the file is accepted, false if it is refused as it should be.
    ///
    /// - Throws: `FuzzFinding` for any other error.
    public func accepts(_ bytes: [UInt8], in scratch: Scratch) throws -> Bool {
        do {
            try read(bytes, scratch)
            return true
        } catch let error as MeraserError {
            guard [.badInput, .usage].contains(error.kind) else {
                throw FuzzFinding(what: "\(name): an error of kind \(error.kind): \(error)")
            }
            let line = error.description
            guard !line.isEmpty, !line.contains(where: \.isNewline) else {
                throw FuzzFinding(what: "\(name): an error that is not one line: \(line)")
            }
            return false
        } catch let finding as FuzzFinding {
            throw finding
        } catch {
            throw FuzzFinding(what: "\(name): an error that is none of ours: \(error)")
        }
    }
}

/// What a reader may not do.
public struct FuzzFinding: Error, CustomStringConvertible {
    /// What it did.
    let what: String
    /// The same.
    public var description: String { what }

    /// - Throws: a finding with that text, unless the condition holds.
    static func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition { throw FuzzFinding(what: what()) }
    }
}
