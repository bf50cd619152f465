/// What a server takes from its clients.
public struct ServerLimits: Sendable {
    /// Bytes of a body.
    public var bodyBytes: Int
    /// Seconds in which a body must have come.
    public var bodySeconds: Double
    /// Seconds after which a connection that does nothing is closed.
    public var idleSeconds: Int
    /// Connections at a time; further ones wait in the system's queue.
    public var connections: Int

    /// Limits.
    public init(bodyBytes: Int = 4 << 20, bodySeconds: Double = 30, idleSeconds: Int = 60, connections: Int = 512) {
        (self.bodyBytes, self.bodySeconds) = (bodyBytes, bodySeconds)
        (self.idleSeconds, self.connections) = (idleSeconds, connections)
    }
}
