import Foundation

/// What this process and this machine have in memory.
public enum ProcessMemory {
    /// The largest resident size of this process so far, in bytes; mapped files count while they are resident.
    public static var peakBytes: Int {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        return usage.ru_maxrss * 1024
    }

    /// Bytes of memory that this process may use: what the machine has, or less where a cgroup says so.
    public static var limitBytes: Int {
        let physical = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        let text = try? String(contentsOfFile: "/sys/fs/cgroup/memory.max", encoding: .utf8)
        let group = text.flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        return min(physical, group ?? physical)
    }
}

/// A count of bytes for people: `812 MB`, `3.4 GB` (powers of 1024).
public func describedBytes(_ count: Int) -> String {
    let value = Double(count)
    if value >= 1_073_741_824 { return String(format: "%.1f GB", value / 1_073_741_824) }
    if value >= 1_048_576 { return String(format: "%.0f MB", value / 1_048_576) }
    return String(format: "%.0f KB", (value / 1024).rounded(.up))
}
