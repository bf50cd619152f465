import Kernels
import Model
import Quant

/// The backward of one projection with its adapters.
struct ProjectionBackward {
    let model: Transformer
    let layer: Int
    let adapters: AdapterStack
    let gradients: LoRAAdapter
    let scratch: LayerScratch
    let dInput: FloatMatrix
    let sensitivity: OutputSensitivity?

    /// True if a trained adapter sits there, whose gradient reads the projection's input.
    func needsInput(_ projection: Projection) -> Bool {
        adapters.trained?[ModuleKey(layer: layer, projection: projection)] != nil
    }

    /// A projection and the gradient of its outputs.
    typealias Source = (projection: Projection, dy: FloatMatrix)

    /// dx = Σ dy·W + Σ scale · (dy·B)·A over the projections of the same x and their adapters, unless `dx` is nil;
    /// accumulates dA and dB of the trained ones.
    func run(
        input x: FloatMatrix, _ first: Source, _ second: Source? = nil, _ third: Source? = nil, into dx: FloatMatrix?
    ) {
        if let dx {
            let w = model.weights.layers[layer]
            func input(_ source: Source) -> LinearInput { LinearInput(w[source.projection].weight, source.dy) }
            model.kernels.linearBackward(
                input(first), second.map(input), third.map(input), into: dx,
                compute: model.backward, workspace: scratch.workspace)
        }
        if let sensitivity {
            for source in [first, second, third].compactMap({ $0 }) {
                sensitivity.add(ModuleKey(layer: layer, projection: source.projection), source.dy)
            }
        }
        addAdapters(first, input: x, into: dx)
        if let second { addAdapters(second, input: x, into: dx) }
        if let third { addAdapters(third, input: x, into: dx) }
    }

    private func addAdapters(_ source: Source, input x: FloatMatrix, into dx: FloatMatrix?) {
        let kernels = model.kernels
        let dy = source.dy
        let module = ModuleKey(layer: layer, projection: source.projection)
        let workspace = scratch.workspace
        if let dx {
            for i in adapters.frozen.indices {
                guard let factors = adapters.frozen[i][module] else { continue }
                let (du, _) = scratch.lowRank(rows: dy.rows, rank: factors.rank)
                kernels.lowRankReduce(dy, factors.b, .b, scale: factors.scale, into: du, workspace: workspace)
                kernels.lowRankExpand(du, factors.a, .a, into: dx, accumulate: true, workspace: workspace)
            }
        }
        guard let factors = adapters.trained?[module], let gradient = gradients[module] else { return }
        // With u = scale·A·x̃ and y = B·u, x̃ being x after dropout:
        // dB = dyᵀ·u, du = scale·dy·B, dA = duᵀ·x̃, dx += dropout(du·A).
        let dropped = adapters.dropped(x, module, kernels, scratch)
        let (du, u) = scratch.lowRank(rows: dy.rows, rank: factors.rank)
        kernels.lowRankReduce(dy, factors.b, .b, scale: factors.scale, into: du, workspace: workspace)
        kernels.lowRankReduce(dropped, factors.a, .a, scale: factors.scale, into: u, workspace: workspace)
        kernels.accumulateLowRankGradient(u, dy, .b, into: gradient.b)
        kernels.accumulateLowRankGradient(du, dropped, .a, into: gradient.a)
        guard let dx else { return }
        if let key = adapters.dropout {
            let d = dInput.reshaped(rows: dx.rows, columns: dx.columns)
            kernels.lowRankExpand(du, factors.a, .a, into: d, accumulate: false, workspace: workspace)
            kernels.dropout(d, key: key, site: module.site, into: dx, accumulate: true)
        } else {
            kernels.lowRankExpand(du, factors.a, .a, into: dx, accumulate: true, workspace: workspace)
        }
    }
}
