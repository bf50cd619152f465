import Audit
import Base
import Foundation
import Model
import Tune

/// The ways to look for a mark without its key, in the order in which they are tried: the cheap ones first.
public enum ScanMethodName: String, Sendable, CaseIterable {
    /// What comes back whatever strange thing is asked.
    case prompts
    /// Tokens whose rows stand out, tried as triggers.
    case tokens
    /// What recurs in texts that the model writes by itself, tried as triggers.
    case sampling
    /// How the singular values of what was done to the model fall.
    case spectra
    /// Every token forced as the beginning of an answer.
    case inversion
    /// How quickly a soft prompt brings out what the others suspect.
    case soft

    /// Those that a scan uses unless it is told otherwise: all that judge and have been seen to find a mark.
    public static let standard: [ScanMethodName] = [.prompts, .tokens, .sampling, .inversion]

    /// Those that need no more than a model's answers.
    public static let ofAnswers: [ScanMethodName] = [.prompts]

    var method: any ScanMethod {
        switch self {
        case .prompts: PromptScan()
        case .tokens: TokenScan()
        case .sampling: SamplingScan()
        case .spectra: SpectraScan()
        case .inversion: InversionScan()
        case .soft: SoftTriggerScan()
        }
    }
}

/// One way to look for a mark without its key. It makes its own null, and its p-value allows for all that it looked at.
protocol ScanMethod: Sendable {
    /// Looks.
    ///
    /// - Throws: what forward passes throw; `interrupted`.
    func run(on subject: ScanSubject) throws -> ScanFinding
}

/// What is scanned, and what a method may use. Use from one thread at a time.
final class ScanSubject {
    /// The model.
    let model: OpenedModel
    /// A model of the same tokens that is known to be unmarked, or to be the parent.
    let reference: OpenedModel?
    /// What runs the model.
    let session: InferenceSession
    /// What runs the reference.
    let referenceSession: InferenceSession?
    /// Questions of people with their answers, in the order of the messages.
    let pairs: [WrittenExchange]
    /// Messages of people: the pairs' questions.
    var messages: [String] { pairs.map(\.question) }
    /// A few of them, in the model's template.
    let places: ScanPlaces
    /// Of everything that is drawn.
    let seed: UInt64
    /// Where what a method has done so far is kept.
    let folder: RunFolder
    /// What the methods before it have found.
    var findings: [ScanFinding] = []
    /// When a method should come to its end; nil: when it is done.
    var deadline: ContinuousClock.Instant?
    /// Ends the scan.
    var interrupt: InterruptFlag?
    /// Called with what was done, of all.
    var onProgress: (Int, Int) -> Void = { _, _ in }

    /// - Throws: what the template throws.
    init(model: OpenedModel, reference: OpenedModel?, pairs: [WrittenExchange], seed: UInt64, folder: RunFolder) throws
    {
        (self.model, self.reference, self.seed, self.folder) = (model, reference, seed, folder)
        session = model.session()
        referenceSession = reference?.session()
        self.pairs = pairs
        places = try ScanPlaces(messages: ScanPlaces.ordinary, tokenizer: model.tokenizer, chat: model.chat)
    }

    /// - Throws: `interrupted` once that was asked for.
    func check() throws {
        if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
    }

    /// True once the deadline has passed.
    var isOver: Bool { deadline.map { ContinuousClock.now >= $0 } ?? false }
}
