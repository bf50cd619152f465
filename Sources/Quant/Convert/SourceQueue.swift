import Base
import Crypto
import Foundation

/// Hands the segments of several files to several threads, so that every byte is read once: the thread that reads a
/// segment hashes it in its turn and then converts it while others read on.
///
/// A file's hash is a chain, so one thread at a time reads from a file; the first file that nobody reads from is next.
/// With several shards, as many chains run side by side as there are threads for.
final class SourceQueue: @unchecked Sendable {
    // @unchecked: `states`, `failure` are only touched under `condition`; a state's hash by the thread that has claimed it.

    private final class FileState {
        let file: MappedFile
        let segments: [SourceSegment]
        var next = 0
        var isClaimed = false
        var hash = SHA256()

        init(file: MappedFile, segments: [SourceSegment]) {
            self.file = file
            self.segments = segments
        }
    }

    private let condition = NSCondition()
    private let states: [FileState]
    private var failure: (place: Int, error: any Error)?

    /// A queue of those files with all their segments.
    init(_ files: [(file: MappedFile, segments: [SourceSegment])]) {
        states = files.map { FileState(file: $0.file, segments: $0.segments) }
    }

    /// Bytes of the longest segment.
    var longestSegment: Int { states.flatMap(\.segments).map(\.byteCount).max() ?? 0 }

    /// Runs on `threads` threads until every segment is done: `body` is called for each that holds rows, with its bytes,
    /// which it must not keep. Returns the files' SHA-256 digests.
    ///
    /// After an error no new segment is begun; of several errors, that of the first file's first segment is thrown.
    func run(
        threads: Int, _ body: @Sendable (MappedFile, SourceSegment.Rows, UnsafeRawBufferPointer) throws -> Void
    ) throws -> [String] {
        let capacity = longestSegment
        DispatchQueue.concurrentPerform(iterations: threadsInReach(threads)) { _ in
            // Allocated and first touched by the thread that uses it: on its own NUMA node.
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(capacity, 1), alignment: 64)
            defer { memory.deallocate() }
            while let (index, place) = claim() {
                let state = states[index]
                let segment = state.segments[place]
                let bytes = UnsafeMutableRawBufferPointer(rebasing: memory[0..<segment.byteCount])
                do {
                    try read(state, segment, into: bytes)
                    release(index)
                    if let rows = segment.rows { try body(state.file, rows, UnsafeRawBufferPointer(bytes)) }
                } catch {
                    fail(error, index: index, place: place)
                }
            }
        }
        if let failure { throw failure.error }
        return states.map { hexDigits($0.hash.finalize()) }
    }

    private func read(
        _ state: FileState, _ segment: SourceSegment, into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        try state.file.read(into: bytes, at: segment.offset)
        // The disk goes on while this segment is converted.
        state.file.willNeed(at: segment.offset + segment.byteCount, count: 4 * bytes.count)
        state.hash.update(bufferPointer: UnsafeRawBufferPointer(bytes))
    }

    /// The next segment of a file that nobody reads from; waits while others read; nil when all are taken.
    private func claim() -> (file: Int, segment: Int)? {
        condition.lock()
        defer { condition.unlock() }
        while failure == nil {
            let left = states.indices.filter { states[$0].next < states[$0].segments.count }
            if left.isEmpty { return nil }
            if let index = left.first(where: { !states[$0].isClaimed }) {
                states[index].isClaimed = true
                states[index].next += 1
                return (index, states[index].next - 1)
            }
            condition.wait()
        }
        return nil
    }

    private func release(_ index: Int) {
        condition.lock()
        states[index].isClaimed = false
        condition.broadcast()
        condition.unlock()
    }

    private func fail(_ error: any Error, index: Int, place: Int) {
        condition.lock()
        let position = states[..<index].reduce(place) { $0 + $1.segments.count }
        if failure.map({ position < $0.place }) ?? true { failure = (position, error) }
        condition.broadcast()
        condition.unlock()
    }
}
