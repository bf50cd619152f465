/// What stands between two linear layers, or behind a pooler.
public enum Activation: Sendable, Equatable {
    /// x·Φ(x) with Φ by erf.
    case gelu
    /// x·Φ(x) with Φ by tanh, `gelu_new`.
    case geluTanh
    /// max(x, 0).
    case relu
    /// tanh.
    case tanh
    /// x·σ(x).
    case silu
}
