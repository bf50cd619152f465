import ArgumentParser
import Tune

struct Recover: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train an adapter on clean pairs that brings an erased model's quality back.",
        discussion: """
            Goes on top of the erase adapter, which stays frozen. Without --preset the options are those of the MEraser \
            paper (meraser-recover).
            Example: meraser recover --model tinychat.mqf --adapter mark --adapter erased --data clean.json --out recovered

            --preset crow tunes on a few clean pairs and makes hidden states steadier from layer to layer, which needs neither \
            a trigger nor a reference (CROW); alone it is a removal of its own.
            """)

    enum Standard: TrainingStandard {
        static var preset: TrainingPreset? { .meraserRecover }
    }

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Data and output") var training: TrainingArguments
    @OptionGroup var flags: TrainingFlags<Standard>
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { training.trial.outputs }

    func inputs() throws -> [String] { training.inputs(model, flags) }

    func run() throws {
        try training.run(model: model, flags: flags, common: common)
    }
}
