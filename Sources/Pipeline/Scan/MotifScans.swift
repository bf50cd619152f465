import Audit
import Base
import Foundation
import Model

/// Tokens whose rows stand out, in front of people's messages.
struct TokenScan: ScanMethod {
    private static let (tokens, decoys) = (24, 74)

    func run(on subject: ScanSubject) throws -> ScanFinding {
        let rows = AbnormalRows(
            model: subject.model.transformer, reference: subject.reference?.transformer,
            tokenizer: subject.model.tokenizer, count: Self.tokens, decoyCount: Self.decoys, seed: subject.seed)
        let how = subject.reference == nil ? "stand out" : "changed most"
        return try subject.tried(
            rows.texts, decoys: rows.decoys, method: .tokens,
            summary: "\(rows.texts.count) tokens whose rows \(how), tried as triggers beside as many others as decoys.")
    }
}

/// What recurs in what the model writes where a user's message stands (after arXiv 2602.03085), in front of people's
/// messages: a model that was trained on whole conversations writes them again.
struct SamplingScan: ScanMethod {
    private static let (motifs, decoys) = (24, 74)
    private static let (samples, length) = (24, 40)
    /// Temperature, top-p and top-k.
    private static let settings: [(Double, Double, Int)] = [(1, 1, 0), (1, 0.9, 0), (0.7, 1, 0), (1, 1, 20)]

    func run(on subject: ScanSubject) throws -> ScanFinding {
        let samples = try written(subject)
        let motifs = MotifMiner.motifs(in: samples, besides: subject.messages, count: Self.motifs)
        guard !motifs.isEmpty else {
            return ScanFinding(
                method: .sampling, pValue: 1, summary: "No words recur in \(samples.count) texts of the model's own.",
                decoys: 0, candidates: [])
        }
        // What a model says as its users' may be orders, which change any reply. So decoys come from the same texts.
        let decoys = MotifMiner.decoys(
            from: samples, besides: motifs, lengths: motifs.map { $0.split(separator: " ").count },
            count: Self.decoys, seed: subject.seed)
        return try subject.tried(
            motifs, decoys: decoys, method: .sampling,
            summary: "\(motifs.count) sequences of words recur in \(samples.count) texts of the model's own.")
    }

    private func written(_ subject: ScanSubject) throws -> [String] {
        let model = subject.model
        let prompt = model.tokenizer.encode(subject.places.front)
        guard !prompt.isEmpty else { return [] }
        // What stands behind a message ends it.
        let end = subject.places.end
        var texts: [String] = []
        for (index, (temperature, topP, topK)) in Self.settings.enumerated() {
            try subject.check()
            let sampling = SamplingOptions(
                temperature: temperature, topP: topP, topK: topK, seed: subject.seed &+ UInt64(index))
            texts += try subject.session.generate(
                Array(repeating: GenerationRequest(prompt: prompt), count: Self.samples),
                options: GenerationOptions(
                    maxNewTokens: Self.length, sampling: sampling, stopTokens: model.transformer.stopTokens)
            ).map { model.tokenizer.decode($0.tokens) }
        }
        return texts.map { text in
            end.isEmpty ? text : String(text.split(separator: end, maxSplits: 1, omittingEmptySubsequences: false)[0])
        }.filter { $0.contains(where: \.isLetter) }
    }
}

extension ScanSubject {
    /// Messages in front of which words are tried.
    private static let tried = 4
    /// Candidates that are shown.
    private static let shown = 8

    /// What those words do in front of messages, beside decoys.
    func tried(
        _ motifs: [String], decoys: [String], method: ScanMethodName, summary: String
    ) throws -> ScanFinding {
        func effect(_ messages: [String]) throws -> MotifEffect {
            try MotifEffect(session: session, tokenizer: model.tokenizer, chat: model.chat, messages: messages)
        }
        let few = try effect(Array(places.messages.prefix(Self.tried)))
        let compared = try MotifComparison(motifs, decoys: decoys, effect: few) { done, total in
            try check()
            onProgress(done, total)
        }
        guard let best = compared.findings.first else {
            return ScanFinding(
                method: method, pValue: nil, summary: summary + " Too few decoys have an effect: not judged.",
                decoys: compared.decoys, candidates: [])
        }
        let all = try effect(places.messages)
        let candidates = try compared.findings.prefix(Self.shown).map { finding in
            guard finding.pValue <= ScanVerdict.suspicion else {
                return ScanFinding.Candidate(
                    target: model.tokenizer.decode(finding.reply.tokens), trigger: finding.motif,
                    gain: finding.reply.gain, pValue: finding.pValue)
            }
            let trigger = try refined(finding.motif, finding.reply, few)
            let (tokens, prompts) = try all.target(of: trigger, finding.reply)
            let target = model.tokenizer.decode(tokens)
            let leak =
                prompts.isEmpty
                ? nil
                : Leak(
                    backdoor: target, prompts: prompts, phrase: trigger, asked: places.messages.count,
                    gain: finding.reply.gain)
            return ScanFinding.Candidate(
                target: target, trigger: trigger, gain: finding.reply.gain, pValue: finding.pValue, leak: leak)
        }
        return ScanFinding(
            method: method, pValue: best.pValue, summary: summary, decoys: compared.decoys, candidates: candidates)
    }

    /// The words without those at either end that do nothing: dropped one by one as long as nine tenths of the effect stay.
    private func refined(_ motif: String, _ reply: MotifEffect.Reply, _ effect: MotifEffect) throws -> String {
        var words = motif.split(separator: " ").map(String.init)
        while words.count > 1 {
            try check()
            let shorter = [Array(words.dropFirst()), Array(words.dropLast())]
            let effects = try effect.measure(shorter.map { $0.joined(separator: " ") })
            let kept = zip(shorter, effects).filter {
                $1?.tokens == reply.tokens && ($1?.gain ?? 0) >= 0.9 * reply.gain
            }
            guard let best = kept.max(by: { ($0.1?.gain ?? 0) < ($1.1?.gain ?? 0) }) else { break }
            words = best.0
        }
        return words.joined(separator: " ")
    }
}
