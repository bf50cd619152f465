import Base
import Foundation

/// Where an OpenAI-compatible server is: `http://127.0.0.1:8080`, `https://HOST/api/v1`.
public struct ServerAddress: Sendable, Equatable {
    /// The address as it was meant, without a slash at its end; for reports.
    public let text: String
    /// What paths such as `/completions` are put behind: ends with a version, `/v1` where none was given.
    public let base: String
    /// True if what is sent can be read on the way: http to another machine.
    public let isExposed: Bool

    /// An address.
    ///
    /// - Throws: a usage error for what is no http or https URL, or has a name, password, query or fragment in it.
    public init(_ text: String) throws {
        func error(_ expected: String) -> MeraserError { .usage("`url` \(quoted(text)): \(expected)") }
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), let parts = URLComponents(string: text),
            let host = parts.host, !host.isEmpty, let scheme = parts.scheme?.lowercased(),
            ["http", "https"].contains(scheme), (1...65535).contains(parts.port ?? 80)
        else { throw error("expected a server's address such as http://127.0.0.1:8080") }
        guard parts.user == nil, parts.password == nil else {
            throw error("a name or password in it would show in reports; give a key by `api_key_env`")
        }
        guard parts.query == nil, parts.fragment == nil else {
            throw error("expected the part in front of /v1, without a query")
        }
        var kept = text[...]
        while kept.hasSuffix("/") { kept.removeLast() }
        self.text = String(kept)
        let last = parts.path.split(separator: "/").last ?? ""
        let isVersion = last.first == "v" && last.dropFirst().first?.isNumber == true
        base = isVersion ? self.text : self.text + "/v1"
        isExposed = scheme == "http" && !isLoopback(host)
    }
}
