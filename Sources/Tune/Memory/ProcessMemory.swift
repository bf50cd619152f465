import Foundation

/// What this process and this machine have in memory.
public enum ProcessMemory {
    /// The largest resident size of this process so far, in bytes; mapped files count while they are resident.
    public static var peakBytes: Int {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        return usage.ru_maxrss * 1024
    }

    /// Lets `peakBytes` begin anew from what is resident now. Does nothing where the system does not offer it.
    public static func resetPeak() {
        guard let file = fopen("/proc/self/clear_refs", "w") else { return }
        fputs("5", file)
        fclose(file)
    }

    /// Bytes of memory that this process may take: what the machine can give without swapping (its caches of files
    /// included), or less where a cgroup or a resource limit says so.
    public static var limitBytes: Int {
        let physical = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        return ([physical, availableBytes ?? physical] + cgroupLimits + resourceLimits).min() ?? physical
    }

    /// `MemAvailable` of /proc/meminfo.
    private static var availableBytes: Int? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8) else { return nil }
        let key = "MemAvailable:"
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(key) }) else { return nil }
        return line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
    }

    /// What `ulimit -v` and `ulimit -d` leave: what is resident now, and what may be added to what is reserved now.
    private static var resourceLimits: [Int] {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return [] }
        // Pages: address space, resident, shared, code, 0, data.
        let bytes = text.split(whereSeparator: \.isWhitespace).map { (Int($0) ?? 0) * sysconf(Int32(_SC_PAGESIZE)) }
        guard bytes.count >= 6 else { return [] }
        return [(RLIMIT_AS, bytes[0]), (RLIMIT_DATA, bytes[5])].compactMap { resource, reserved in
            var limit = rlimit()
            guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max else {
                return nil
            }
            return bytes[1] + max(0, Int(clamping: limit.rlim_cur) - reserved)
        }
    }

    /// The limits of this process's cgroups and of those around them.
    private static var cgroupLimits: [Int] {
        func text(_ file: String) -> String? { try? String(contentsOfFile: file, encoding: .utf8) }
        return limitFiles(cgroups: text("/proc/self/cgroup") ?? "").compactMap {
            text($0).flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        }
    }

    /// The files that limit a process's memory, which need not be there: of version 2, and of version 1.
    ///
    /// - Parameter cgroups: /proc/self/cgroup: lines of `NUMBER:CONTROLLERS:PATH`, version 2's without controllers.
    static func limitFiles(cgroups: String) -> [String] {
        var paths = ["": "/", "memory": "/"]
        for line in cgroups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            if fields[1].isEmpty { paths[""] = String(fields[2]) }
            if fields[1].split(separator: ",").contains("memory") { paths["memory"] = String(fields[2]) }
        }
        return [("", "", "memory.max"), ("memory", "/memory", "memory.limit_in_bytes")].flatMap {
            version, below, name in
            var folder = "/sys/fs/cgroup" + below
            return ["\(folder)/\(name)"]
                + (paths[version] ?? "/").split(separator: "/").map {
                    folder += "/" + $0
                    return "\(folder)/\(name)"
                }
        }
    }
}
