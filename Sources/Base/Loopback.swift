/// True for the name or address of a host that only this machine reaches: `localhost`, 127.0.0.0/8, ::1 (with or without
/// brackets). A name that merely begins so is another machine's.
public func isLoopback(_ host: String) -> Bool {
    if ["localhost", "::1", "[::1]"].contains(host) { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127"
        && parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } && UInt8($0) != nil }
}
