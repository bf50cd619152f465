import Base
import Foundation
import Kernels

/// The machine that does a stage, for its record.
enum Machine {
    /// `{"cpu", "cores", "memory_bytes", "system"}`.
    static var json: JSONValue {
        let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = info.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
        return [
            "cpu": .text(model.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"),
            "cores": .integer(physicalCoreCount()),
            "memory_bytes": .integer(Int(clamping: ProcessInfo.processInfo.physicalMemory)),
            "system": .text(ProcessInfo.processInfo.operatingSystemVersionString),
        ]
    }
}
