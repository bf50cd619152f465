import ArgumentParser
import Base
import Client
import Foundation

/// A model behind an OpenAI-compatible server, and how to ask it.
struct RemoteOptions: ParsableArguments {
    @Option(
        help: """
            Ask a model behind an OpenAI-compatible server in place of --model, such as http://127.0.0.1:8080 \
            (docs/reference/remote.md).
            """)
    var url: String?

    @Option(help: "The model's name there (default: the only one that the server lists).")
    var servedModel: String?

    @Option(help: "The environment variable that has the server's key; without it none is sent.")
    var apiKeyEnv: String?

    @Option(help: "Requests to the server in a minute (default: as many as it takes).")
    var requestsPerMinute: Double?

    @Option(help: "Requests to the server at the same time (default: 4).")
    var concurrency: Int?

    @Option(help: "Seconds that one answer of the server may take (default: 300).")
    var requestTimeout: Double?

    @Option(help: "Times that a request is sent again after a failure that may pass (default: 5).")
    var maxRetries: Int?

    @Option(
        help: "Keep the server's answers in this .jsonl file: with the same file only what is missing is asked.",
        completion: .file())
    var log: String?

    func validate() throws {
        let given: [(String, Bool)] = [
            ("--served-model", servedModel != nil), ("--api-key-env", apiKeyEnv != nil),
            ("--requests-per-minute", requestsPerMinute != nil), ("--concurrency", concurrency != nil),
            ("--request-timeout", requestTimeout != nil), ("--max-retries", maxRetries != nil), ("--log", log != nil),
        ]
        if url == nil, let (flag, _) = given.first(where: \.1) { throw ValidationError("\(flag) needs --url") }
        if let servedModel, servedModel.isEmpty { throw ValidationError("--served-model is empty") }
        if let requestsPerMinute, !(0.01...1e6).contains(requestsPerMinute) {
            throw ValidationError("--requests-per-minute must be 0.01 to 1000000")
        }
        if let requestTimeout, !(0.1...86_400).contains(requestTimeout) {
            throw ValidationError("--request-timeout must be 0.1 to 86400")
        }
        try requireCount("--concurrency", concurrency, 1...256)
        try requireCount("--max-retries", maxRetries, 0...100)
    }

    /// What the log makes of a command's outputs.
    var outputs: [Output] { log.map { [Output($0)] } ?? [] }

    /// The model at that address.
    ///
    /// - Throws: usage errors of address and key; what asking the server throws.
    func open(_ url: String, _ common: CommonOptions) throws -> RemoteModel {
        var options = EndpointOptions(try ServerAddress(url), key: try key())
        options.requestsPerMinute = requestsPerMinute
        options.concurrency = concurrency ?? options.concurrency
        options.timeout = requestTimeout ?? options.timeout
        options.retry.maxRetries = maxRetries ?? options.retry.maxRetries
        if options.key != nil, options.address.isExposed {
            common.warn("\(options.address.text): the key goes there in the clear; https hides it")
        }
        let log = try log.map { try RequestLog(path: $0) }
        if let log, log.count > 0 { common.say("\(self.log ?? ""): \(log.count) answers are in it") }
        let model = try RemoteModel(ModelEndpoint(options, log: log), name: servedModel)
        let offered = model.capabilities.logProbabilities.rawValue
        common.say("\(model.name) at \(options.address.text): log-probabilities: \(offered)")
        return model
    }

    private func key() throws -> String? {
        guard let apiKeyEnv else { return nil }
        guard let key = ProcessInfo.processInfo.environment[apiKeyEnv], !key.isEmpty else {
            throw MeraserError.usage(
                "--api-key-env: the environment has no variable \(quoted(apiKeyEnv)), or it is empty")
        }
        guard key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw MeraserError.usage("--api-key-env: the key in \(quoted(apiKeyEnv)) has blanks or other signs in it")
        }
        return key
    }
}

/// A command that can ask a server in place of a model at hand.
protocol RemoteCommand: CommonCommand {
    /// The server.
    var remote: RemoteOptions { get }
    /// What it takes beside the server's own options then.
    static var remoteFlags: Set<String> { get }
}

extension RemoteCommand {
    /// - Throws: a usage error for a flag that has no meaning with `--url`.
    func requireRemoteFlags(_ words: [String]) throws {
        guard remote.url != nil else { return }
        let known = Self.remoteFlags.union(FlagNames.flags(of: RemoteOptions.Listing.self)).union([
            "--json", "--verbose", "-v", "--quiet", "-q",
        ])
        let flags = words.prefix { $0 != "--" }.filter { $0.hasPrefix("-") && $0.count > 1 }
            .map { String($0.prefix { $0 != "=" }) }
        if let flag = flags.first(where: { !known.contains($0) }) {
            throw MeraserError.usage("\(flag) is about a model at hand; it has no meaning with --url")
        }
    }
}

extension RemoteOptions {
    /// A command of these options alone, whose help lists them.
    struct Listing: ParsableCommand {
        @OptionGroup var options: RemoteOptions
    }
}
