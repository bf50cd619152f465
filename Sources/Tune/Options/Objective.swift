/// `objective`: what training makes of its rows.
public enum Objective: String, Sendable, CaseIterable {
    /// They become likelier.
    case likelihood
    /// They become unlikelier than the model has them: negative preference optimisation (arXiv 2404.05868).
    case npo
    /// They become likelier, and hidden states change less from layer to layer: CROW (arXiv 2411.12768).
    case crow
    /// What was chosen becomes likelier beside what was rejected than the model has it: direct preference optimisation (arXiv
    /// 2305.18290).
    case dpo

    /// True if the frozen model is asked about the rows.
    var asksFrozen: Bool { self == .npo || self == .dpo }
}

/// An objective with its settings.
enum Goal: Sendable, Equatable {
    /// Cross-entropy.
    case likelihood
    /// Negative preference with that β.
    case npo(beta: Double)
    /// Cross-entropy and `alpha` times the layers' consistency at embeddings that are moved by `epsilon`.
    case crow(alpha: Double, epsilon: Double)
    /// A comparison of two answers.
    case dpo(DirectPreference)
}
