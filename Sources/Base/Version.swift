/// The version of the command line, the formats and the records.
public let meraserVersion = "0.1.0"

/// The version of the numbers: raised by one whenever any bit of any result changes on any instruction set (logits, losses,
/// gradients, adapters, quantized weights, samples, masks of a merge). `NumericsTests` holds hashes of a fixed set of results
/// and fails when they change without it. Records of another version are neither resumed nor reused.
public let numericsVersion = 2
