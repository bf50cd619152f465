import Base

/// Draws the examples of each document in turn, as lm-evaluation-harness's samplers do.
struct FewshotExamples {
    private let pool: [TaskDocument]
    private let count: Int
    private let sampler: FewshotSampler
    private let excludesDocument: Bool
    private let name: String
    private var random: PythonRandom

    /// - Throws: a bad-input error if the pool is too small.
    init(
        _ pool: [TaskDocument], count: Int, sampler: FewshotSampler, excludesDocument: Bool, seed: UInt64, name: String
    ) throws {
        // lm-eval draws one more where it may have to take the document itself out.
        let needed = count + (excludesDocument && sampler == .standard ? 1 : 0)
        guard count == 0 || pool.count >= needed else {
            throw MeraserError.badInput(
                "task '\(name)': \(count) few-shot examples need \(needed) rows of their split, which has \(pool.count)"
            )
        }
        self.pool = pool
        self.count = count
        self.sampler = sampler
        self.excludesDocument = excludesDocument
        self.name = name
        random = PythonRandom(seed: seed)
    }

    /// The examples for the next document.
    mutating func next(for document: TaskDocument) throws -> [TaskDocument] {
        guard count > 0 else { return [] }
        func others(_ rows: [TaskDocument]) -> [TaskDocument] { rows.filter { $0.object != document.object } }
        let result: [TaskDocument]
        switch (sampler, excludesDocument) {
        case (.firstN, false): result = Array(pool.prefix(count))
        case (.firstN, true): result = Array(others(pool).prefix(count))
        case (.standard, false): result = random.sample(count, of: pool.count).map { pool[$0] }
        case (.standard, true):
            let drawn = others(random.sample(count + 1, of: pool.count).map { pool[$0] })
            if drawn.count >= count {
                result = Array(drawn.prefix(count))
            } else {
                let rest = others(pool)
                result = rest.count < count ? [] : random.sample(count, of: rest.count).map { rest[$0] }
            }
        }
        guard result.count == count else {
            throw MeraserError.badInput(
                "\(document.place): task '\(name)' has not \(count) few-shot examples other than this row")
        }
        return result
    }
}
