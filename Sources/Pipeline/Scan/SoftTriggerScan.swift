import Audit
import Base
import Foundation
import Model
import Tune

/// How quickly free vectors in people's messages learn to bring out a reply (SANDE's parrot prompt): quicker where a trigger
/// for it is there already. The replies are what the methods before it suspect; pieces of people's answers are the null.
/// What is likelier to begin with comes sooner with or without a trigger, so that is taken out by a straight line.
struct SoftTriggerScan: ScanMethod {
    private static let decoys = ExponentialTail.leastDecoys
    /// Replies of other methods that are tried, and of each method.
    private static let (candidates, perMethod) = (6, 2)

    func run(on subject: ScanSubject) throws -> ScanFinding {
        let trial = SoftTrial(subject)
        let replies = suspects(subject, trial)
        guard !replies.isEmpty else {
            return finding(
                nil, "No method before it suspects a reply of \(SoftTrial.length) tokens or more: nothing to bring out."
            )
        }
        let others = pieces(subject, trial, besides: replies.map(\.tokens))
        guard others.count == Self.decoys else {
            return finding(nil, "The messages' answers are too short to draw other replies of.")
        }
        let efforts = try trial.efforts(of: replies.map(\.tokens) + others)
        guard efforts.count == replies.count + others.count else {
            return finding(nil, "The budget ended it: not judged.", decoys: max(0, efforts.count - replies.count))
        }
        let gains = Self.gains(efforts, decoys: replies.count..<efforts.count)
        let tail = ExponentialTail(decoys: Array(gains[replies.count...]))
        let found = zip(replies, gains).map { reply, gain in
            ScanFinding.Candidate(
                target: reply.text, gain: gain, pValue: tail.pValue(of: gain, amongst: replies.count))
        }.sorted { ($0.pValue ?? 1) < ($1.pValue ?? 1) }
        let best = replies.indices.max { gains[$0] < gains[$1] } ?? 0
        let steps = [efforts[best].steps, efforts[best].steps * exp(gains[best])].map { Figures.number($0, 1) }
        return finding(
            found.first?.pValue,
            "Of \(replies.count) suspected replies the likeliest one is brought out after \(steps[0]) steps, pieces of "
                + "people's answers that are as unlikely after \(steps[1]).",
            decoys: others.count, candidates: found)
    }

    /// By how much each effort is smaller than those of the decoys say for a reply as unlikely: logarithms of factors, which a
    /// straight line of the decoys predicts from how unlikely a reply is at the start.
    static func gains(_ efforts: [SoftTrial.Effort], decoys: Range<Int>) -> [Double] {
        let (x, y) = (efforts.map(\.start), efforts.map { log($0.steps) })
        let n = Double(decoys.count)
        let (meanX, meanY) = (decoys.reduce(0) { $0 + x[$1] } / n, decoys.reduce(0) { $0 + y[$1] } / n)
        let variance = decoys.reduce(0) { $0 + (x[$1] - meanX) * (x[$1] - meanX) }
        let product = decoys.reduce(0) { $0 + (x[$1] - meanX) * (y[$1] - meanY) }
        let slope = variance > 0 ? product / variance : 0
        return efforts.indices.map { meanY + slope * (x[$0] - meanX) - y[$0] }
    }

    /// The replies that other methods suspect most, each once.
    private func suspects(_ subject: ScanSubject, _ trial: SoftTrial) -> [(text: String, tokens: [Int32])] {
        var found: [(text: String, tokens: [Int32])] = []
        for finding in subject.findings {
            for text in finding.candidates.compactMap(\.target).prefix(Self.perMethod) {
                guard let tokens = trial.tokens(of: text), !found.contains(where: { $0.tokens == tokens }) else {
                    continue
                }
                found.append((text, tokens))
            }
        }
        return Array(found.prefix(Self.candidates))
    }

    /// Pieces of people's answers, all different, each of two words or more from a place that the seed draws.
    private func pieces(_ subject: ScanSubject, _ trial: SoftTrial, besides own: [[Int32]]) -> [[Int32]] {
        var random = SplitMix64(seed: subject.seed ^ 0x736F_6674)
        var seen = Set(own)
        var found: [[Int32]] = []
        for _ in 0..<40 * Self.decoys where found.count < Self.decoys {
            let words = subject.pairs[random.index(below: subject.pairs.count)].answer.split(separator: " ")
            guard words.count >= 2 else { continue }
            let piece = words[random.index(below: words.count - 1)...].prefix(SoftTrial.length)
            if let tokens = trial.tokens(of: piece.joined(separator: " ")), seen.insert(tokens).inserted {
                found.append(tokens)
            }
        }
        return found
    }

    private func finding(
        _ p: Double?, _ summary: String, decoys: Int = 0, candidates: [ScanFinding.Candidate] = []
    ) -> ScanFinding {
        ScanFinding(method: .soft, pValue: p, summary: summary, decoys: decoys, candidates: candidates)
    }
}
