import Foundation
import FuzzTargets

/// Tries readers with spoilt files: by libFuzzer, which looks for bytes that reach new code, or with every bit flipped and
/// every length cut. Built by `make fuzz` alone.
///
///     fuzz                              the targets' names
///     fuzz seeds TARGET FOLDER          writes its seeds
///     fuzz flip [TARGET]                every bit, every length; status 1 if there was a finding
///     fuzz run TARGET [FLAG …] FOLDER…  libFuzzer, whose flags those are
@main
struct Fuzz {
    /// Of the callback, which takes no context: set once, before libFuzzer begins.
    nonisolated(unsafe) private static var chosen: (target: FuzzTarget, scratch: Scratch)?

    static func main() throws {
        let words = Array(CommandLine.arguments.dropFirst())
        limitMemory()
        switch words.first {
        case "seeds" where words.count == 3: try writeSeeds(of: target(words[1]), to: words[2])
        case "flip": try flip(words.count > 1 ? [target(words[1])] : FuzzTarget.all)
        case "run" where words.count > 1: try run(target(words[1]), Array(words.dropFirst(2)))
        case let flag? where flag.hasPrefix("-"):
            // libFuzzer starts itself again, to merge corpora, with its own flags alone.
            try run(target(ProcessInfo.processInfo.environment[targetVariable] ?? ""), words)
        default: print(FuzzTarget.all.map(\.name).joined(separator: "\n"))
        }
    }

    private static func target(_ name: String) -> FuzzTarget {
        guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
            print("fuzz: there is no target \(name): \(FuzzTarget.all.map(\.name).joined(separator: " "))")
            exit(2)
        }
        return target
    }

    /// An allocation that a file of some kilobytes does not pay for has no memory, and ends the process.
    private static func limitMemory() {
        var limit = rlimit(rlim_cur: 4 << 30, rlim_max: 4 << 30)
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
    }

    private static func writeSeeds(of target: FuzzTarget, to folder: String) throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for (index, seed) in try target.acceptedSeeds(in: scratch).enumerated() {
            try Data(seed).write(to: URL(fileURLWithPath: "\(folder)/seed-\(index)"))
        }
    }

    private static func flip(_ targets: [FuzzTarget]) throws {
        let scratch = try Scratch()
        defer { scratch.remove() }
        for target in targets {
            let spoilt = try target.spoilt(in: scratch)
            print("\(target.name): \(spoilt)")
            fflush(nil)
        }
    }

    private static let targetVariable = "MERASER_FUZZ_TARGET"

    private static func run(_ target: FuzzTarget, _ flags: [String]) throws {
        setenv(targetVariable, target.name, 1)
        chosen = (target, try Scratch())
        let words = [CommandLine.arguments[0], "-max_len=\(target.maximumLength)"] + flags
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let status = arguments.withUnsafeMutableBufferPointer { buffer in
            var count = Int32(words.count)
            var base = buffer.baseAddress
            return runDriver(&count, &base) { bytes, count in
                guard let chosen = Fuzz.chosen else { return 0 }
                do {
                    let bytes = Array(UnsafeBufferPointer(start: bytes, count: count))
                    _ = try chosen.target.accepts(bytes, in: chosen.scratch)
                } catch {
                    fatalError("\(error)")
                }
                return 0
            }
        }
        chosen?.scratch.remove()
        exit(status)
    }
}

/// libFuzzer's `LLVMFuzzerRunDriver`.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32
