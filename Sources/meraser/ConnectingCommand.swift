/// A command that can open network connections; no other does.
protocol ConnectingCommand {
    /// True if this command line opens one.
    var isConnecting: Bool { get }
}

extension Check: ConnectingCommand {
    var isConnecting: Bool { remote.url != nil }
}

extension Evaluate: ConnectingCommand {
    var isConnecting: Bool { remote.url != nil }
}

extension ScanCommand: ConnectingCommand {
    var isConnecting: Bool { remote.url != nil }
}

extension Serve: ConnectingCommand {
    var isConnecting: Bool { true }
}
