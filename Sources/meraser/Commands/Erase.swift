import ArgumentParser
import Tune

struct Erase: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train an adapter that makes the model forget its marks, on mismatched pairs.",
        discussion: """
            With --auto it needs neither data nor a dose: it tries, looks, stops, and tests what it has done; status 4 \
            where the mark is not shown to be gone.
            Example: meraser erase --auto --model M --key key.json --out erased

            Without --preset the options are those of the MEraser paper (meraser-erase). How much is enough depends on the \
            mark: measure it with --key, --check-steps and --until, and check again after recovery.
            Example: meraser erase --model tinychat.mqf --adapter mark --data mismatched.json --out erased \
            --key mark/key.json --check-steps 10 --until 'fsr==0 && prefix_match<0.1'

            --preset npo makes the pairs of a known key unlikelier instead (negative preference optimisation); give --kl-data \
            and --kl-weight with it, so that nothing else is forgotten.
            Example: meraser erase --model M --adapter mark --preset npo --key mark/key.json --kl-data clean.json \
            --kl-weight 1 --out erased
            """)

    enum Standard: TrainingStandard {
        static var preset: TrainingPreset? { .meraserErase }
    }

    @OptionGroup(title: "Model") var model: ModelOptions
    @OptionGroup(title: "Auto") var auto: AutoArguments
    @OptionGroup(title: "Data and output") var training: TrainingArguments
    @OptionGroup var flags: TrainingFlags<Standard>
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { training.trial.outputs }

    func inputs() throws -> [String] { training.inputs(model, flags) }

    func run() throws {
        if auto.auto { return try auto.run(training, model: model, flags: flags, common: common) }
        try training.run(model: model, flags: flags, common: common)
    }
}
