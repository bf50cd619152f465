/// The state of one `generate` call: prompts enter a batch as places become free.
struct GenerationRun {
    private let requests: [GenerationRequest]
    private let numbers: [Int]
    private let limits: [GenerationLimit]
    private let options: GenerationOptions
    private let sampler: Sampler
    private let onToken: ((Int, Int32) -> Void)?
    private var batch: DecodingBatch
    private var waiting = 0
    private var outputs: [[Int32]]
    private var endings: [Generation.Ending]

    init(
        session: InferenceSession, requests: [GenerationRequest], numbers: [Int], limits: [GenerationLimit],
        options: GenerationOptions, onToken: ((Int, Int32) -> Void)?
    ) {
        self.requests = requests
        self.numbers = numbers
        self.limits = limits
        self.options = options
        self.onToken = onToken
        sampler = Sampler(options.sampling)
        batch = DecodingBatch(session: session, sharesPrefixes: options.sharesPrefixes)
        outputs = Array(repeating: [], count: requests.count)
        endings = Array(repeating: .length, count: requests.count)
    }

    /// What its passes read, and how long they took.
    var statistics: GenerationStatistics { batch.statistics }

    mutating func finish() throws -> [Generation] {
        while true {
            admit()
            if batch.count == 0 { break }
            try batch.step { index, event in
                switch event {
                case .token(let token):
                    outputs[index].append(token)
                    onToken?(index, token)
                case .ended(let ending): endings[index] = ending
                }
            }
        }
        return zip(outputs, endings).map { Generation(tokens: $0, ending: $1) }
    }

    /// Lets waiting prompts into free places.
    private mutating func admit() {
        while waiting < requests.count && batch.count < max(options.batchSize, 1) {
            // What may have no new token is not even read.
            if limits[waiting].tokens > 0 {
                batch.join(
                    waiting,
                    DecodingRequest(
                        prompt: requests[waiting].prompt, limit: limits[waiting], stopTokens: options.stopTokens,
                        sampler: sampler, number: numbers[waiting]))
            }
            waiting += 1
        }
    }
}
