import Quant

extension PEFTConfig {
    /// The configuration of factors whose product is the whole difference: the scale of each module is 1. Modules of another
    /// rank than the largest are named in the patterns.
    init(factors: [AdapterFile.Factors], rank: Int, modulesToSave: [String] = [], baseModelName: String?) {
        let others = factors.filter { $0.rank != rank }
        self.init(
            r: rank, loraAlpha: Double(rank), targets: .names(factors.map(\.path)),
            rankPattern: others.map { (key: $0.path, value: $0.rank) },
            alphaPattern: others.map { (key: $0.path, value: Double($0.rank)) },
            modulesToSave: modulesToSave, baseModelName: baseModelName)
    }
}
