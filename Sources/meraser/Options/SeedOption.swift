import ArgumentParser

/// What every command takes that draws something at random, and no other.
struct SeedOption: ParsableArguments {
    @Option(help: "The seed of everything random (default: 42).")
    var seed: UInt64?

    /// The seed that was given, or the default.
    var value: UInt64 { seed ?? 42 }
}
