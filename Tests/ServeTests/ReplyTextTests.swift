import Foundation
import Model
import Quant
import TestSupport
import Testing

@testable import Serve

@Suite struct ReplyTextTests {
    @Test("stop texts are found across tokens, and nothing of them is given out before")
    func stops() throws {
        let tokenizer = try Tokenizer(store: try openWeightStore(path: tinychatFolder().path))
        let text = "abcabcabd the end of the story, and more of it"
        let tokens = tokenizer.encode(text, addSpecialTokens: false)
        for stop in [["abd"], ["cab"], ["story", "end"], ["never said"], ["it"], ["a"], [" the end", "bd the"]] {
            var reply = ReplyText(tokenizer: tokenizer, stop: stop)
            var given = ""
            for token in tokens {
                given += reply.append(token)
                for word in stop { #expect(!given.contains(word)) }
            }
            given += reply.finish()
            let whole = tokenizer.decode(tokens)
            let end = stop.compactMap { whole.range(of: $0)?.lowerBound }.min() ?? whole.endIndex
            #expect(given == String(whole[..<end]), "\(stop)")
            #expect(reply.isStopped == (end < whole.endIndex))
        }
    }
}
