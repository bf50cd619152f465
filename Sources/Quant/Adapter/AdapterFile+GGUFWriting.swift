import Base

/// The other side of `AdapterFile+GGUF`: llama.cpp's GGUF file of a LoRA.
extension AdapterFile {
    /// Writes factors as a GGUF adapter in f32.
    ///
    /// llama.cpp multiplies each product by `adapter.lora.alpha` over its rank. Where all modules have one alpha that
    /// is theirs and the factors are as they are; else alpha is 0, which stands for a factor of 1, and the modules' own
    /// factors are multiplied into B, which rounds each number once: rsLoRA of several ranks, `alpha_pattern`.
    ///
    /// - Parameters:
    ///   - path: the file to make.
    ///   - factors: the modules with the factor on each product.
    ///   - model: the model that they belong to, whose GGUF file has their rows in that order.
    ///   - name: what the model is called.
    ///   - overwrite: replace a file that is there.
    /// - Throws: `badInput` for an architecture that llama.cpp does not run, `usage` if the file exists, `runtime` for
    ///   a full disk. Nothing is left behind.
    public static func writeGGUF(
        path: String, factors: [(factors: Factors, scale: Float)], model: DecoderSpec, name: String, overwrite: Bool
    ) throws {
        try model.requireLlamaCpp(path: path)
        let alphas = Set(factors.map { Double($0.scale) * Double($0.factors.rank) })  // bounded: Double
        let alpha = alphas.count == 1 ? alphas.first ?? 0 : 0
        let targets = GGUFLayout(model).targets
        var infos: [GGUFTensorInfo] = []
        var data = ByteWriter()
        func add(_ name: String, _ shape: [Int], _ values: [Float]) {
            infos.append(
                GGUFTensorInfo(
                    name: name, typeID: GGMLType.f32.rawValue, dimensions: shape.reversed(), offset: data.bytes.count))
            for value in values { data.append(value.bitPattern) }
            while data.bytes.count % GGUFTensorPlan.alignment != 0 { data.append(UInt8(0)) }
        }
        for (factors, scale) in factors {
            guard let (name, place) = targets[factors.path + ".weight"] else {
                throw MeraserError.badInput("\(path): GGUF has no name for module \(quoted(factors.path))")
            }
            let (rank, rows) = (factors.rank, factors.b.count / factors.rank)
            var b = [Float](repeating: 0, count: factors.b.count)
            for row in 0..<rows {
                let start = place.order.place(of: row, count: rows) * rank  // bounded: in memory
                for k in 0..<rank {
                    let value = factors.b[row * rank + k]  // bounded: in memory
                    b[start + k] = alpha == 0 ? scale * value : value  // bounded: Float
                }
            }
            add(name + ".lora_a", [rank, factors.a.count / rank], factors.a)
            add(name + ".lora_b", [rows, rank], b)
        }
        var metadata = Metadata()
        metadata["general.architecture"] = .string(model.ggufArchitecture)
        metadata["general.type"] = .string("adapter")
        metadata["general.name"] = .string(name)
        metadata["adapter.type"] = .string("lora")
        metadata["adapter.lora.alpha"] = .float32(Float(alpha))
        let file = try AtomicFile(path: path, overwrite: overwrite)
        try file.write(GGUFWriter.front(metadata: metadata, tensors: infos))
        try file.write(data.bytes)
        try file.commit()
    }
}
