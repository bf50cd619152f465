import Audit
import Base
import Kernels
import Model
import Tune

/// One of the other ranks: does what rank 0 sends it until there is no more. Used by one thread.
public final class RankWorker {
    /// Sessions that are kept: a model, what it is compared with, and one more.
    private static let keptSessions = 3

    private let collective: any Collective
    private let threads: Int?
    private let interrupt: InterruptFlag
    private var isa = ""
    private var models: [ModelReference: Transformer] = [:]
    private var adapters: [String: (content: AdapterContent, version: Int)] = [:]
    private var versions = 0
    private var sessions: [(reference: SessionReference, versions: [Int], session: InferenceSession)] = []
    private var training: TrainingRank?

    /// A rank of that job.
    ///
    /// - Parameters:
    ///   - threads: of its kernels; nil: the physical cores that it may use.
    ///   - interrupt: what ends a command line that it runs for rank 0, which else decides when this rank ends.
    public init(_ collective: any Collective, threads: Int?, interrupt: InterruptFlag) {
        self.collective = collective
        self.threads = threads
        self.interrupt = interrupt
    }

    /// Works until rank 0 has no more.
    ///
    /// - Throws: what the work throws; rank 0 then waits in vain, so the job must end.
    public func serve() throws {
        while var message = try collective.receiveMessage(from: 0) {
            let job = try message.job()
            if let answer = try answer(job, &message) { collective.send(answer, to: 0) }
        }
    }

    private func answer(_ job: Job, _ message: inout MessageReader) throws -> Message? {
        switch job {
        case .introduce:
            isa = try message.text()
            return Message(Introduction(isa: isa))
        case .model:
            let reference = try message.value(ModelReference.self)
            models[reference] = try reference.open(threads: threads, isa: isa)
            return nil
        case .adapter:
            let name = try message.text()
            versions += 1
            adapters[name] = (try message.value(), versions)
            return nil
        case .answer: return try answerQuestions(&message)
        case .train:
            training = try trainingRank(&message)
            return nil
        case .plan: return Message(try trainingRank(&message).plan)
        case .step:
            guard let training else { throw MeraserError.runtime("rank 0 began a step of no training") }
            try training.step(&message)
            return nil
        case .run: return Message(try message.value(RemoteCommands.self).run(interrupt: interrupt))
        }
    }

    // MARK: What is kept

    private func model(_ reference: ModelReference) throws -> Transformer {
        guard let model = models[reference] else {
            throw MeraserError.runtime("rank 0 uses \(reference.path), which it has not had opened")
        }
        return model
    }

    private func kept(_ name: String) throws -> (content: AdapterContent, version: Int) {
        guard let found = adapters[name] else {
            throw MeraserError.runtime("rank 0 uses '\(name)', which it has not sent")
        }
        return found
    }

    private func session(_ reference: SessionReference) throws -> InferenceSession {
        let places = reference.frozen + (reference.trained.map { [$0] } ?? [])
        let wanted = try places.map { try kept($0).version }
        if let found = sessions.first(where: { $0.reference == reference && $0.versions == wanted }) {
            return found.session
        }
        let model = try model(reference.model)
        func adapter(_ name: String) throws -> LoRAAdapter { try kept(name).content.adapter(for: model.spec) }
        let stack = AdapterStack(
            frozen: try reference.frozen.map(adapter), trained: try reference.trained.map(adapter))
        let session = InferenceSession(model: model, adapters: stack, tokenBudget: reference.tokenBudget)
        if sessions.count == Self.keptSessions { sessions.removeFirst() }
        sessions.append((reference, wanted, session))
        return session
    }

    // MARK: Work

    private static var questions: [any SharedQuestions.Type] {
        [
            GenerationQuestions.self, ContinuationQuestions.self, LikelihoodQuestions.self, PositionQuestions.self,
            ChainQuestions.self,
        ]
    }

    private func answerQuestions(_ message: inout MessageReader) throws -> Message {
        let name = try message.text()
        guard let kind = Self.questions.first(where: { $0.name == name }) else {
            throw MeraserError.runtime("rank 0 asks '\(name)', which this rank does not know")
        }
        let sessions = try message.values(SessionReference.self).map(session)
        return try kind.answer(&message, of: sessions)
    }

    private func trainingRank(_ message: inout MessageReader) throws -> TrainingRank {
        try TrainingRank(
            &message, collective: collective, open: model,
            adapter: { try self.kept($0).content.adapter(for: $1.spec) })
    }
}
