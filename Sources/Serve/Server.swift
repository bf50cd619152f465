import Base
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import Pipeline
import ServiceLifecycle
import UnixSignals

/// A model behind OpenAI's API, until a signal ends it.
public struct Server: Sendable {
    /// Where it listens, and for whom.
    public struct Place: Sendable {
        /// The address; loopback answers to this machine alone.
        public var host: String
        /// The port; 0: any that is free.
        public var port: Int
        /// What clients must send as `Authorization: Bearer KEY`; nil: nothing.
        public var key: String?

        /// A place.
        public init(host: String = "127.0.0.1", port: Int = 8080, key: String? = nil) {
            (self.host, self.port, self.key) = (host, port, key)
        }

        /// True for an address that only this machine reaches.
        public var isLoopback: Bool { Base.isLoopback(host) }
    }

    private let served: ServedModel
    private let engine: DecodingEngine
    private let place: Place
    private let limits: ServerLimits
    private let log: Logger

    /// A server of those models, which it takes over: nobody else uses them from here on.
    ///
    /// - Parameters:
    ///   - models: a name and a model each; all are one base, with other adapters.
    ///   - log: where it says what goes wrong.
    /// - Throws: a usage error for a name that is given twice, or for no model.
    public init(
        _ models: [(name: String, model: OpenedModel)], place: Place, limits: ServerLimits,
        decoding: DecodingEngine.Limits, log: Logger
    ) throws {
        guard let first = models.first else { throw MeraserError.usage("there is no model to serve") }
        served = try ServedModel(first.model, names: models.map(\.name))
        engine = DecodingEngine(models.map(\.model), limits: decoding)
        (self.place, self.limits) = (place, limits)
        // The library's own notes are for whoever looks for a fault in it.
        self.log = log.logLevel == .info ? log.at(.warning) : log
    }

    /// Serves until SIGINT or SIGTERM; then answers that are being written may end, for ten seconds.
    ///
    /// - Parameter onReady: called with the address once it listens.
    /// - Throws: a runtime error if it cannot listen there.
    public func run(onReady: @escaping @Sendable (String) -> Void) async throws {
        defer { engine.stop() }
        var configuration = ServiceGroupConfiguration(
            services: [.init(service: application(onReady))], gracefulShutdownSignals: [.sigint, .sigterm], logger: log)
        configuration.maximumGracefulShutdownDuration = .seconds(10)
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as IOError {
            throw MeraserError.runtime("\(place.host):\(place.port): \(error.localizedDescription)")
        }
    }

    /// The application itself, which tests run without signals.
    func application(_ onReady: @escaping @Sendable (String) -> Void = { _ in }) -> some ApplicationProtocol {
        let counters = Counters()
        let router = Router(context: BasicRequestContext.self)
        router.add(middleware: ErrorAnswers(counters: counters))
        router.add(
            middleware: OriginGuard(hosts: place.isLoopback ? ["localhost", "127.0.0.1", "[::1]", place.host] : []))
        if let key = place.key { router.add(middleware: KeyGuard(key: key, open: ["/", "/health"])) }
        Routes(served: served, engine: engine, limits: limits, counters: counters).add(to: router)
        Page.add(to: router)
        let host = place.host
        return Application(
            router: router,
            server: .http1(configuration: .init(idleTimeout: .seconds(Int64(limits.idleSeconds)))),
            configuration: .init(
                address: .hostname(host, port: place.port), serverName: "meraser",
                availableConnectionsDelegate: MaximumAvailableConnections(limits.connections)),
            onServerRunning: { channel in
                onReady("http://\(host.contains(":") ? "[\(host)]" : host):\(channel.localAddress?.port ?? 0)")
            },
            logger: log)
    }

    /// Ends what is being decoded; for tests, which do not `run`.
    func stop() { engine.stop() }
}

extension Logger {
    /// The same, silent below that level.
    fileprivate func at(_ level: Logger.Level) -> Logger {
        var log = self
        log.logLevel = level
        return log
    }
}
