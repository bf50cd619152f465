import Model

/// What continues prompts: a model's session, or a defence around one.
public protocol SequenceGenerator {
    /// Continues all prompts; results in the order of the requests.
    func generate(_ requests: [GenerationRequest], options: GenerationOptions) throws -> [Generation]
}

extension InferenceSession: SequenceGenerator {
    /// Continues all prompts, without a callback for each token.
    public func generate(_ requests: [GenerationRequest], options: GenerationOptions) throws -> [Generation] {
        try generate(requests, options: options, onToken: nil)
    }
}
