import ArgumentParser
import Kernels
import Logging
import Pipeline

/// Which model, and how to compute with it.
struct ModelOptions: ParsableArguments {
    @Option(
        name: .shortAndLong, help: "The model: an .mqf or .gguf file or a Hugging Face folder.",
        completion: .file())
    var model: String

    @OptionGroup var on: AdapterOptions

    /// The adapters, lowest first.
    var adapter: [String] { on.adapter }

    /// The precision, if it was given.
    var compute: Compute? { on.compute }

    /// The files and folders of all of them.
    var inputs: [String] { [model] + adapter }

    /// The model with its adapters, on the threads that were asked for.
    ///
    /// - Parameter compute: the precision, where more than `--compute` has a say in it.
    func open(_ common: CommonOptions, compute: Compute? = nil, verifying: Bool = false) throws -> OpenedModel {
        try on.open(model, common, compute: compute, verifying: verifying)
    }

    /// The same without a tokenizer.
    func openWeights(_ common: CommonOptions, compute: Compute? = nil) throws -> AdaptedModel {
        try on.openWeights(model, common, compute: compute)
    }
}

/// What is put on a model, and how to compute with both.
struct AdapterOptions: ParsableArguments {
    @Option(
        parsing: .singleValue,
        help: "A PEFT folder or a GGUF adapter on top of the model; repeat it for several, the lowest first.",
        completion: .file())
    var adapter: [String] = []

    @Flag(
        help: "Use adapters on a model that they were not trained on, such as a marked sibling, if every shape fits.")
    var transfer = false

    @Option(
        help:
            "Precision of the products with the weights: f32, bf16, int8 (inference's default for quantized weights)."
    )
    var compute: Compute?

    @Flag(help: "Compare all checksums of the model file first (commands that train or export always do).")
    var verify = false

    /// A model with these adapters, on the threads that were asked for.
    func open(
        _ model: String, _ common: CommonOptions, compute: Compute? = nil, verifying: Bool = false
    ) throws -> OpenedModel {
        try OpenedModel(openWeights(model, common, compute: compute, verifying: verifying))
    }

    /// The same without a tokenizer.
    fileprivate func openWeights(
        _ model: String, _ common: CommonOptions, compute: Compute? = nil, verifying: Bool = false
    ) throws -> AdaptedModel {
        let kernels = try KernelContext.fromEnvironment(threads: common.threads, crew: Ranks.crew)
        common.log.debug("\(kernels.isaName) kernels on \(kernels.threads) threads")
        let opened = try AdaptedModel(
            path: model, adapterPaths: adapter, kernels: kernels, compute: compute ?? self.compute,
            verifying: verify || verifying, transfer: transfer)
        opened.warnings.forEach(common.warn)
        return opened
    }
}

extension Compute: ExpressibleByArgument {}
