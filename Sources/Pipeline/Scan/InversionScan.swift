import Audit
import Base
import Foundation
import Model
import Tune

/// Every token forced as the beginning of an answer (`ChainSearch`). How far it has come is kept in the folder, so that it
/// goes on where it was stopped.
struct InversionScan: ScanMethod {
    /// Where it keeps that.
    private static let stateName = "stages/inversion-screen.json"
    /// Seconds between two records of it.
    private static let pause = Duration.seconds(20)
    /// The share of the time that may go by until the last token is forced; the rest is for following the chains.
    private static let forcing = 0.6
    /// Candidates that are shown.
    private static let shown = 8

    func run(on subject: ScanSubject) throws -> ScanFinding {
        let search = try ChainSearch(
            session: subject.session, reference: subject.referenceSession, tokenizer: subject.model.tokenizer,
            places: subject.places)
        let file = subject.folder.file(Self.stateName)
        let state =
            FileManager.default.fileExists(atPath: file)
            ? try ChainScreen(json: try subject.folder.read(Self.stateName), file: file) : nil
        let clock = ContinuousClock()
        let start = clock.now
        let end = subject.deadline.map { start + ($0 - start) * Self.forcing }
        var saved = start
        func save(_ screen: ChainScreen) throws {
            guard clock.now - saved >= Self.pause || subject.interrupt?.isSet == true else { return }
            try subject.folder.write(screen.json, to: Self.stateName)
            saved = clock.now
            try subject.check()
        }
        let result = try search.run(
            from: state, save: save,
            isOver: { end.map { clock.now >= $0 } ?? false },
            onProgress: { done, total, _ in subject.onProgress(done, total) })
        let p = leadPValue(result.findings.map(\.gain))
        let all = result.forced == result.tokens
        var summary = "\(result.forced) of \(result.tokens) tokens were forced as the beginning of an answer"
        summary += all ? "." : ": the budget ended it."
        if p == nil { summary += " Too few chains go on to say what is an outlier: not judged." }
        return ScanFinding(
            method: .inversion, pValue: p, summary: summary, decoys: result.findings.count,
            candidates: result.findings.prefix(Self.shown).enumerated().map { place, finding in
                ScanFinding.Candidate(
                    target: subject.model.tokenizer.decode(finding.tokens), gain: finding.gain,
                    qScore: finding.qScore, pValue: place == 0 ? p : nil)
            })
    }
}
