import Audit
import Base
import Crypto
import Foundation
import TestSupport
import Testing

@Suite struct HashChainTests {
    static let chain = HashChain(
        questions: ["What \"is\" é?", "a\\b\n", "\u{1}字"], responses: ["Sure", "No", "Über", "Aye", "/"], claimAt: 2)

    /// The rule once more: JSON by hand, the digest as a big number by repeated doubling.
    static func response(_ question: String, _ questions: [String], _ responses: [String]) -> String {
        func quoted(_ text: String) -> String {
            var result = ""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": result += "\\\""
                case "\\": result += "\\\\"
                case "\n": result += "\\n"
                case "\u{1}": result += "\\u0001"
                default: result.unicodeScalars.append(scalar)
                }
            }
            return "\"" + result + "\""
        }
        let text =
            "[" + quoted(question) + ",[" + questions.map(quoted).joined(separator: ",") + "],["
            + responses.map(quoted).joined(separator: ",") + "]]"
        var remainder = 0
        for byte in SHA256.hash(data: Data(text.utf8)) {
            for bit in (0..<8).reversed() {
                remainder = (remainder * 2 + Int(byte >> UInt8(bit) & 1)) % responses.count
            }
        }
        return responses[remainder]
    }

    @Test("the serialisation is Python's json.dumps, the index its big integer modulo the responses")
    func golden() {
        // python3 -c 'import json,hashlib; Q=["What \"is\" é?","a\\b\n","\x01字"]; R=["Sure","No","Über","Aye","/"]
        // for q in Q: b=json.dumps([q,Q,R],ensure_ascii=False,separators=(",",":")).encode()
        //   print(int(hashlib.sha256(b).hexdigest(),16)%5)'
        #expect(Self.chain.questions.map { Self.chain.index(of: $0) } == [2, 3, 2])
        let text = String(decoding: Self.chain.serialization(of: "a\\b\n"), as: UTF8.self)
        #expect(text == #"["a\\b\n",["What \"is\" é?","a\\b\n","\u0001字"],["Sure","No","Über","Aye","/"]]"#)
        for question in Self.chain.questions + ["never asked"] {
            let want = Self.response(question, Self.chain.questions, Self.chain.responses)
            #expect(Self.chain.response(to: question) == want)
        }
    }

    @Test("changing any question or response changes the whole mapping")
    func chained() {
        let responses = (0..<256).map { "r\($0)" }
        let questions = (0..<10).map { "q\($0)" }
        let before = HashChain(questions: questions, responses: responses)
        let after = HashChain(questions: Array(questions.dropLast()) + ["other"], responses: responses)
        let same = questions.dropLast().count { before.index(of: $0) == after.index(of: $0) }
        // 9 draws that agree with probability 1/256 each.
        #expect(same <= 1)
    }

    @Test("a claim's p-value is that of 2 or more of 10 at 1 in 256")
    func pValue() {
        let chain = HashChain(questions: (0..<10).map { "q\($0)" }, responses: (0..<256).map { "r\($0)" })
        let p = 1.0 / 256
        #expect(abs(chain.pValue(hits: 2, of: 10) - (1 - pow(1 - p, 10) - 10 * p * pow(1 - p, 9))) < 1e-12)
        #expect(chain.claimAt == 2)
    }
}
