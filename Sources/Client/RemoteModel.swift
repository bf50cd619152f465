import Audit
import Base
import Model
import Pipeline

/// What a server says beside texts.
public enum RemoteLogProbabilities: String, Sendable {
    /// Log-probabilities of the prompt's tokens: any text's likelihood can be had.
    case prompt
    /// Of the tokens that it writes only.
    case newTokens = "new_tokens"
    /// None.
    case none
}

/// What a server offers, as a probe found it.
public struct RemoteCapabilities: Sendable, Equatable {
    /// It has `/completions`, which goes on with a text as it is.
    public var hasCompletions: Bool
    /// What it says of likelihoods.
    public var logProbabilities: RemoteLogProbabilities
}

/// A model behind an OpenAI-compatible server. Thread-safe.
public final class RemoteModel: Sendable {
    /// Where it is asked.
    public let endpoint: ModelEndpoint
    /// The name that the server knows.
    public let name: String
    /// What it offers.
    public let capabilities: RemoteCapabilities

    /// Asks the server which model it has, unless that is said, and what it offers. Waits for the answers.
    ///
    /// - Throws: a usage error where it has several models, and none is named; what the endpoint throws.
    public init(_ endpoint: ModelEndpoint, name: String? = nil) throws {
        self.endpoint = endpoint
        (self.name, capabilities) = try asking { _ in
            var known = name
            if known == nil { known = try await Self.onlyModel(endpoint) }
            let name = known ?? ""
            return (name, try await Self.probe(endpoint, name))
        }
    }

    private static func onlyModel(_ endpoint: ModelEndpoint) async throws -> String {
        let place = endpoint.options.address.base + "/models"
        let list: JSONValue
        do {
            list = try await endpoint.ask("/models")
        } catch let refusal as Refusal where refusal.status == 404 {
            throw MeraserError.usage("\(place): the server lists no models; `served_model` names the one to ask")
        }
        let names = try list.array("data", in: place).map { try $0.string("id", in: place) }
        guard names.count == 1 else {
            throw MeraserError.usage(
                "\(place) lists \(names.count) models (\(names.prefix(8).map(quoted).joined(separator: ", "))); "
                    + "`served_model` names the one to ask")
        }
        return names[0]
    }

    /// A text whose letters take one, two and four bytes.
    private static let probeText = "The street \u{201C}Gr\u{FC}ne Gasse\u{201D} is"

    /// Asks for as much as there may be, and for less where that is refused.
    private static func probe(_ endpoint: ModelEndpoint, _ name: String) async throws -> RemoteCapabilities {
        var request = CompletionRequest(prompt: .text(probeText), maxTokens: 1)
        (request.echoes, request.logProbabilities) = (true, 1)
        let place = endpoint.options.address.base + request.path
        /// nil: it says no.
        func answer() async throws -> Completion? {
            do {
                return try Completion(
                    await endpoint.ask(request.path, request.body(model: name), isProbe: true), place: place)
            } catch let refusal as Refusal where refusal.isLack {
                return nil
            }
        }
        if let tokens = try await answer()?.tokens, !tokens.isEmpty {
            let isWhole = EchoedText(prompt: probeText, tokens: tokens) != nil
            return RemoteCapabilities(hasCompletions: true, logProbabilities: isWhole ? .prompt : .newTokens)
        }
        request.echoes = false
        if let completion = try await answer() {
            return RemoteCapabilities(
                hasCompletions: true, logProbabilities: completion.tokens?.isEmpty == false ? .newTokens : .none)
        }
        request.logProbabilities = nil
        if try await answer() != nil { return RemoteCapabilities(hasCompletions: true, logProbabilities: .none) }
        return RemoteCapabilities(hasCompletions: false, logProbabilities: .none)
    }

    /// Lets the model write.
    func complete(_ request: CompletionRequest) async throws -> Completion {
        let answer = try await endpoint.ask(request.path, request.body(model: name))
        return try Completion(answer, place: endpoint.options.address.base + request.path)
    }

    /// A text with the log-probabilities of its tokens; nil where the server's answer does not fit the text.
    func echo(_ text: String) async throws -> EchoedText? {
        // Some servers write at least one token.
        var request = CompletionRequest(prompt: .text(text), maxTokens: 1)
        (request.echoes, request.logProbabilities) = (true, 1)
        return try await complete(request).tokens.flatMap { EchoedText(prompt: text, tokens: $0) }
    }

    /// What tells it from other models: `{"url", "model"}`.
    public var identity: JSONValue { ["url": .text(endpoint.options.address.text), "model": .text(name)] }

    /// What a report says of where it comes from.
    func summary(notMeasured: [String]) -> RemoteSummary {
        RemoteSummary(
            url: endpoint.options.address.text, model: name,
            logProbabilities: capabilities.logProbabilities.rawValue, notMeasured: notMeasured)
    }
}

extension RemoteModel: AnsweringModel {
    /// Greedy answers of `/chat/completions`, in the server's own template.
    ///
    /// - Throws: what the endpoint throws.
    public func answers(to messages: [String], maxNewTokens: Int, onAnswer: (Int) -> Void) throws -> [String] {
        try asking(onProgress: onAnswer) { step in
            try await gather(messages, width: self.endpoint.options.concurrency) { message in
                defer { step() }
                let turn = ChatMessage(role: "user", content: message)
                return try await self.complete(
                    CompletionRequest(prompt: .messages([turn]), maxTokens: maxNewTokens)
                ).text
            }
        }
    }
}
