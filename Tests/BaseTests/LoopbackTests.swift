import Base
import Testing

@Test(
    "names and addresses that stay on this machine",
    arguments: ["localhost", "127.0.0.1", "127.8.0.255", "::1", "[::1]"])
func loopback(host: String) { #expect(isLoopback(host)) }

@Test(
    "what only begins so, or is no address, is another machine's",
    arguments: [
        "127.example.com", "127.0.0.1.example.com", "127.0.0", "127.0.0.256", "127.0.0.1.", "127..0.1", "128.0.0.1",
        "0.0.0.0", "localhost.example.com", "::2", "",
    ])
func notLoopback(host: String) { #expect(!isLoopback(host)) }
