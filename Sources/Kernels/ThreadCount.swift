import Foundation

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

/// CPUs in this process's affinity mask.
private func affinityCPUs() -> [Int] {
    var mask = cpu_set_t()
    let size = MemoryLayout<cpu_set_t>.size
    guard sched_getaffinity(0, size, &mask) == 0 else {
        return Array(0..<ProcessInfo.processInfo.activeProcessorCount)
    }
    return withUnsafeBytes(of: &mask) { bytes in
        (0..<size * 8).filter { bytes[$0 / 8] >> ($0 % 8) & 1 == 1 }
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
