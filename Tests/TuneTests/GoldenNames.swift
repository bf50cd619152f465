import Quant

extension ModuleKey {
    /// The module's path in models of Llama's layout, as the golden files name it.
    var path: String {
        let block = [.gate_proj, .up_proj, .down_proj].contains(projection) ? "mlp" : "self_attn"
        return "model.layers.\(layer).\(block).\(projection.rawValue)"
    }
}
