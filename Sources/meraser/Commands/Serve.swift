import ArgumentParser
import Base
import Foundation
import Kernels
import Pipeline
import Serve
import Tune

struct Serve: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve a model, and adapters on it, over HTTP as OpenAI's API.",
        discussion: """
            Example: meraser serve --model model.mqf --adapter erased=erased/final, then open http://127.0.0.1:8080/. SIGINT \
            and SIGTERM end it.
            """)

    @Option(
        name: .shortAndLong, help: "The model: an .mqf or .gguf file or a Hugging Face folder.", completion: .file())
    var model: String

    @Option(
        parsing: .singleValue,
        help: """
            NAME=FOLDER: a PEFT folder or a GGUF adapter on the model, served as NAME (several, the lowest first: \
            NAME=A,B); repeat it for several names.
            """,
        completion: .file())
    var adapter: [String] = []

    @Option(help: "What the model without adapters is called (default: its file's name).")
    var alias: String?

    @Flag(help: "Use adapters on a model that they were not trained on, if every shape fits.")
    var transfer = false

    @Option(help: "Precision of the products with the weights: f32, bf16, int8 (the default for quantized weights).")
    var compute: Compute?

    @Flag(help: "Compare all checksums of the model file first.")
    var verify = false

    @Option(help: "The address to listen on; another than loopback opens the server to the network.")
    var host = "127.0.0.1"

    @Option(help: "The port; 0 takes any that is free.")
    var port = 8080

    @Option(help: "The environment variable with the key that clients must send (default: no key is asked for).")
    var apiKeyEnv: String?

    @Option(help: "Sequences that are decoded together.")
    var parallel = 32

    @Option(help: "Sequences that may wait; further ones are told to come again (status 429).")
    var queue = 256

    @Option(help: "Bytes of keys and values at most, such as 2GB (default: half of what is free).")
    var memory: ByteSize?

    @Option(help: "Seconds after which an answer is broken off.")
    var timeout = 600.0

    @Option(help: "Bytes of a request at most, such as 4M.")
    var maxBody = ByteSize(count: 4_000_000)

    @OptionGroup var common: CommonOptions

    func validate() throws {
        if !(0...65535).contains(port) { throw ValidationError("--port is \(port), expected 0 to 65535") }
        if !(1...1024).contains(parallel) { throw ValidationError("--parallel is \(parallel), expected 1 to 1024") }
        if !(0...1 << 20).contains(queue) { throw ValidationError("--queue is \(queue), expected 0 or more") }
        if !(timeout > 0 && timeout <= 86400) { throw ValidationError("--timeout must be more than 0, at most 86400") }
        if !(1000...1_000_000_000).contains(maxBody.count) { throw ValidationError("--max-body must be 1K to 1GB") }
    }

    func run() throws {
        let place = Server.Place(host: host, port: port, key: try key())
        let kernels = try KernelContext.fromEnvironment(threads: common.threads, crew: Ranks.crew)
        let base = try OpenedModel(
            path: model, kernels: kernels, compute: compute, verifying: verify, transfer: transfer)
        let name = alias ?? URL(fileURLWithPath: model).deletingPathExtension().lastPathComponent
        let models = [(name: name, model: base)] + (try adapter.map { try named($0, on: base) })
        for model in models.map(\.model) { model.warnings.forEach(common.warn) }
        let server = try Server(
            models, place: place, limits: ServerLimits(bodyBytes: maxBody.count),
            decoding: DecodingEngine.Limits(
                parallel: parallel, queue: queue, timeout: timeout,
                cacheBytes: memory?.count ?? ProcessMemory.limitBytes / 2), log: common.log)
        if !place.isLoopback, place.key == nil {
            common.warn("\(host) can be reached from other machines, and no key is asked for; give --api-key-env")
        }
        let (json, names) = (common.json, models.map(\.name).joined(separator: ", "))
        try waiting { _ in
            try await server.run { address in
                if json {
                    Console.json(["url": .text(address)])
                } else {
                    Console.output("serving \(names) at \(address)")
                }
            }
        }
    }

    private func key() throws -> String? {
        try apiKeyEnv.map { name in
            guard let key = ProcessInfo.processInfo.environment[name], !key.isEmpty else {
                throw MeraserError.usage("--api-key-env: the environment variable \(quoted(name)) is not set")
            }
            return key
        }
    }

    /// The model with the adapters of `NAME=FOLDER,FOLDER`.
    private func named(_ argument: String, on base: OpenedModel) throws -> (name: String, model: OpenedModel) {
        guard let sign = argument.firstIndex(of: "="), sign > argument.startIndex else {
            throw MeraserError.usage("--adapter \(quoted(argument)): expected NAME=FOLDER")
        }
        let paths = argument[argument.index(after: sign)...].split(separator: ",").map(String.init)
        guard !paths.isEmpty else { throw MeraserError.usage("--adapter \(quoted(argument)): expected NAME=FOLDER") }
        return (String(argument[..<sign]), try base.with(adapterPaths: paths))
    }
}
