import ArgumentParser
import Audit
import Pipeline
import Tune

/// SANDE's first stage: the parrot prompt and how it is learnt.
struct ParrotOptions: ParsableArguments {
    @Option(help: "The triggered response or its beginning (default: the marker of a backdoor's --key).")
    var response: String?

    @Option(help: "Tokens of the response that the parrot prompt is learnt from, its first.")
    var effectiveLength = 1

    @Option(help: "Free vectors of the parrot prompt.")
    var parrotLength = 6

    @Option(help: "Tokens of a prompt in front of it.")
    var parrotOffset = 2

    @Option(help: "Messages that it is learnt on, drawn by the seed; 0: all.")
    var parrotSamples = 100

    @Option(help: "Its peak learning rate (cosine, 3 % of warm-up).")
    var parrotLearningRate = 1e-3

    @Option(help: "Its passes over the messages.")
    var parrotEpochs = 1.0

    @Option(help: "Its messages of a step.")
    var parrotBatchSize = 4

    @Flag(help: "Write the response into the parrot prompt's file; without it the file has only its hash.")
    var keepResponse = false

    func validate() throws {
        try requireCount("--effective-length", effectiveLength, 1...65_536)
        try requireCount("--parrot-length", parrotLength, 1...SoftPrompt.maximumCount)
        try requireCount("--parrot-offset", parrotOffset, 0...65_536)
        try requireCount("--parrot-samples", parrotSamples, 0...100_000_000)
        try requireCount("--parrot-batch-size", parrotBatchSize, 1...65_536)
        if !(parrotLearningRate > 0 && parrotLearningRate <= 10) {
            throw ValidationError("--parrot-learning-rate is \(parrotLearningRate), expected more than 0, at most 10")
        }
        if !(parrotEpochs > 0 && parrotEpochs <= 1e6) {
            throw ValidationError("--parrot-epochs is \(parrotEpochs), expected more than 0, at most 1000000")
        }
    }

    /// The library's form of these options; seed, memory, precision and lengths are those of `training`.
    func options(reply: ReplyOptions, training: TrainingOptions, key: FingerprintKey?) throws -> SANDEOptions {
        var options = SANDEOptions()
        options.reply = reply
        options.insertion = SoftInsertion(offset: parrotOffset, count: parrotLength)
        options.effectiveLength = effectiveLength
        options.parrotSamples = parrotSamples == 0 ? nil : parrotSamples
        options.keepsResponse = keepResponse
        options.parrot.learningRate = parrotLearningRate
        options.parrot.epochs = parrotEpochs
        options.parrot.batchSize = parrotBatchSize
        options.adopt(training)
        if let response {
            options.response = response
        } else if let key, let path = training.key, key.scheme == BackdoorScheme.name {
            options.response = try BackdoorScheme(key: key, file: path).marker
        }
        return options
    }
}
