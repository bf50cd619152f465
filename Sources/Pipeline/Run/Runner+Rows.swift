import Audit
import Base
import Foundation
import Model
import Tune

/// The rows of a training.
extension Runner {
    /// The file of a training's rows; mismatched pairs are made from the recipe's matching ones. Nil: they are the key's
    /// pairs.
    func rows(of training: Recipe.Training) throws -> String? {
        switch training.rows {
        case .file(let path), .overwriting(let path), .parroting(let path): path
        case .mismatched(let source, let count): try mismatched(source, count: count, options: training.options)
        case .pairs: nil
        }
    }

    private func mismatched(_ source: String, count: Int?, options: TrainingOptions) throws -> String {
        let (seed, columns) = (options.seed, options.encoding.removeColumns)
        let path = folder.file("mismatched.json")
        let without = columns.isEmpty ? "" : " without \(columns.joined(separator: ","))"
        let inputs: JSONValue = [
            "source": .text(try sha256Hex(ofFile: source) + without),
            "count": count.map { .integer($0) } ?? .null,
            "seed": .integer(Int(clamping: seed)),
        ]
        let words = commands.mismatch(source, removing: columns, count: count, seed: seed, output: path)
        _ = try stage(.mismatch, inputs: inputs, commands: words) {
            let made = try writeMismatchedPairs(
                source: source, removing: columns, count: count, seed: seed, output: path, overwrite: true)
            return ["pairs": .integer(made.pairs), "sha256": .text(try sha256Hex(ofFile: path))]
        }
        return path
    }

    /// The samples of a training.
    ///
    /// - Parameters:
    ///   - data: the file of its rows (`rows(of:)`).
    ///   - output: the folder of the training, in which what comes before it is kept.
    /// - Throws: what reading throws; where a key is needed, what `steering` throws, and a usage error where there is none.
    func samples(
        of training: Recipe.Training, data: String?, options: TrainingOptions, on model: OpenedModel,
        steering: Steering?, output: String
    ) throws -> EncodedDataset {
        func needed() throws -> Steering {
            guard let steering else { throw MeraserError.usage("there is no key that could steer the training") }
            return steering
        }
        switch (training.rows, data) {
        case (.overwriting, let data?):
            let (scheme, _) = try needed().triggers()
            var overwriting = OSFTOptions()
            (overwriting.triggers, overwriting.position) = (scheme.triggers, scheme.position)
            return try model.osftData(
                path: data, options: overwriting, encoding: options.encoding, seed: options.seed,
                key: try needed().key().key
            ).data
        case (.parroting, let data?):
            var simulating = SANDEOptions()
            simulating.response = try needed().response()
            simulating.adopt(options)
            let key = try needed().keys.first?.key
            let trainer = try model.parrotTrainer(path: data, options: simulating, key: key)
            trainer.interrupt = interrupt
            _ = try trainer.run(output: output + "/" + SoftPromptTrainer.folderName, resume: true)
            return try model.sandeData(
                path: data, prompt: trainer.prompt, options: simulating, encoding: options.encoding,
                seed: options.seed, key: key
            ).data
        case (_, let data?):
            return try model.dataset(path: data, options: options.rowEncoding, chat: training.chat, seed: options.seed)
        case (_, nil):
            return try model.forgetData(needed().key().key)
        }
    }
}
