import ArgumentParser
import Kernels
import Logging
import Pipeline

/// Which model, and how to compute with it.
struct ModelOptions: ParsableArguments {
    @Option(help: "The model: an .mqf file or a Hugging Face folder.", completion: .file())
    var model: String

    @Option(
        parsing: .singleValue,
        help: "A PEFT adapter folder on top of the model; repeat it for several, the lowest first.",
        completion: .directory)
    var adapter: [String] = []

    @Option(
        help:
            "Precision of the products with the weights: f32, bf16, int8 (inference's default for quantized weights)."
    )
    var compute: Compute?

    @Flag(help: "Compare all checksums of the model file first (commands that train or export always do).")
    var verify = false

    /// The model with its adapters, on the threads that were asked for.
    ///
    /// - Parameter compute: the precision, where more than `--compute` has a say in it.
    func open(_ common: CommonOptions, compute: Compute? = nil, verifying: Bool = false) throws -> OpenedModel {
        let kernels = try KernelContext.fromEnvironment(threads: common.threads)
        common.log.debug("\(kernels.isaName) kernels on \(kernels.threads) threads")
        return try OpenedModel(
            path: model, adapterPaths: adapter, kernels: kernels, compute: compute ?? self.compute,
            verifying: verify || verifying)
    }
}

extension Compute: ExpressibleByArgument {}
