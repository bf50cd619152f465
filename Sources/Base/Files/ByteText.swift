import Foundation

/// A count of bytes for people, in three digits or a little more: `812 MiB`, `3.42 GiB` (powers of 1024, as `--memory` has
/// them and as `ls -h` shows files).
public func byteText(_ count: Int) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(count)
    var unit = 0
    while value >= 1024 && unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    if unit == 0 { return "\(count) bytes" }
    return String(format: "%.\(value < 10 ? 2 : value < 100 ? 1 : 0)f %@", value, units[unit])
}
