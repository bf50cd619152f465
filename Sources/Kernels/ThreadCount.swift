import Base
import CKernels
import Foundation

/// The number of threads for work that was asked to use `requested`; nil: the physical cores that this process may use.
///
/// - Throws: a usage error for less than one, or for more than eight for each CPU that this process may use.
public func threadCount(_ requested: Int?) throws -> Int {
    guard let requested else { return min(physicalCoreCount(), Int(MK_MAX_THREADS)) }
    let cpus = usableCPUCount()
    let most = min(8 * cpus, Int(MK_MAX_THREADS))
    guard (1...most).contains(requested) else {
        throw MeraserError.usage(
            "`threads` \(requested): this process may use \(cpus) CPU\(cpus == 1 ? "" : "s"), expected 1 to \(most)")
    }
    return requested
}

/// `threadCount(requested)`, once it is known that so many threads can be started.
///
/// - Throws: also an out-of-memory error where the system has no room for them.
public func availableThreadCount(_ requested: Int?) throws -> Int {
    let count = try threadCount(requested)
    guard mk_threads_available(Int32(count)) else { throw noRoom(forThreads: count) }
    return count
}

/// The threads that help a caller of the kernels. They end with the last context that has them.
final class ThreadPool: Sendable {
    /// nil: the caller is alone.
    nonisolated(unsafe) let pool: OpaquePointer?

    /// A pool of `threads` threads, the caller's among them.
    ///
    /// - Throws: an out-of-memory error where the system has no room for them.
    init(threads: Int) throws {
        pool = mk_pool_start(Int32(threads))
        guard pool != nil || threads <= 1 else { throw noRoom(forThreads: threads) }
    }

    deinit { mk_pool_end(pool) }
}

private func noRoom(forThreads count: Int) -> MeraserError {
    MeraserError(
        .outOfMemory,
        "the system has no room for \(count) threads (see the limits of processes and of memory, ulimit -u and "
            + "ulimit -v); `threads` 1 needs none")
}

/// The number of CPUs that this process may use: those of its affinity mask, no more than the cgroup's quota, at least 1.
public func usableCPUCount() -> Int { max(1, min(affinityCPUs().count, cgroupCPULimit() ?? Int.max)) }

/// The number of physical cores that this process may use: CPUs of its affinity mask without hyper-thread siblings,
/// no more than the cgroup's CPU quota, at least 1.
public func physicalCoreCount() -> Int {
    let allowed = affinityCPUs()
    var cores: Set<String> = []
    for cpu in allowed {
        let path = "/sys/devices/system/cpu/cpu\(cpu)/topology/thread_siblings_list"
        let siblings = (try? String(contentsOfFile: path, encoding: .utf8)) ?? "cpu\(cpu)"
        cores.insert(siblings.trimmingCharacters(in: .whitespacesAndNewlines))
    }
    let limit = cgroupCPULimit() ?? Int.max
    return max(1, min(cores.count, limit))
}

/// CPUs in this process's affinity mask, from the list of ranges that the kernel shows ("0-3,8").
private func affinityCPUs() -> [Int] {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let key = "Cpus_allowed_list:"
    guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(key) }) else {
        return Array(0..<ProcessInfo.processInfo.activeProcessorCount)
    }
    return line.dropFirst(key.count).split(separator: ",").flatMap { range -> [Int] in
        let ends = range.split(separator: "-").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        guard let first = ends.first, let last = ends.last, first <= last, last < 65_536 else { return [] }
        return Array(first...last)
    }
}

/// Whole CPUs of the cgroup v2 quota, rounded up, or nil where there is none.
private func cgroupCPULimit() -> Int? {
    guard let text = try? String(contentsOfFile: "/sys/fs/cgroup/cpu.max", encoding: .utf8) else { return nil }
    let fields = text.split(whereSeparator: \.isWhitespace)
    guard fields.count == 2, let quota = Double(fields[0]), let period = Double(fields[1]), period > 0 else {
        return nil
    }
    return max(1, Int((quota / period).rounded(.up)))
}
