import Base

/// The tensors of a GGUF file that is written, and where in them each of a model's tensors goes: `GGUFLayout` from the
/// other side.
struct GGUFTensorPlan: Sendable {
    /// A tensor of the file.
    struct Stored: Sendable {
        /// GGUF's name.
        let name: String
        let type: TensorType
        /// As in PyTorch: one dimension, or rows and columns.
        let shape: [Int]
        /// From the start of the data section.
        var offset = 0

        /// Rows; 1 of a vector.
        var rows: Int { shape.count == 2 ? shape[0] : 1 }
        /// Bytes of a row of ggml's blocks.
        let rowByteCount: Int
    }

    /// One of the model's tensors and its place.
    struct Part: Sendable {
        let declaration: TensorDeclaration
        /// Which of `stored`.
        let index: Int
        let place: GGUFLayout.Place
    }

    /// In the file's order.
    let stored: [Stored]
    /// In the order of the declarations.
    let parts: [Part]
    /// Bytes of the data section.
    let dataByteCount: Int

    /// llama.cpp's default.
    static let alignment = 32

    /// Places every tensor; `vectors` are tensors of f32 that no model has, such as factors of rotary frequencies.
    ///
    /// Errors (`badInput`): a tensor that has no place in a GGUF file of this architecture.
    init(
        _ declarations: [TensorDeclaration], layout: GGUFLayout, vectors: [(name: String, values: [Float])],
        path: String
    ) throws {
        var stored: [Stored] = vectors.map {
            let byteCount = $0.values.count * 4  // bounded: in memory
            return Stored(name: $0.name, type: .f32, shape: [$0.values.count], rowByteCount: byteCount)
        }
        let targets = layout.targets
        var numbers: [String: Int] = [:]
        parts = try declarations.map { tensor in
            guard let (name, place) = targets[tensor.name] else {
                throw MeraserError.badInput("\(path): GGUF has no name for tensor \(quoted(tensor.name))")
            }
            if let index = numbers[name] { return Part(declaration: tensor, index: index, place: place) }
            // Rows of several tensors are one matrix.
            let shape = place.isRow ? [place.part?.of ?? 1, tensor.columns] : tensor.shape
            guard let ggml = GGMLType(rawValue: tensor.type.rawValue),
                let rowByteCount = ggml.rowByteCount(columns: shape.last ?? 1)
            else {
                throw MeraserError.badInput(
                    "\(path): GGUF has no \(tensor.type.name) for tensor \(quoted(tensor.name))")
            }
            numbers[name] = stored.count
            stored.append(Stored(name: name, type: tensor.type, shape: shape, rowByteCount: rowByteCount))
            return Part(declaration: tensor, index: stored.count - 1, place: place)
        }
        var end = 0
        for index in stored.indices {
            stored[index].offset = end
            guard let count = product(stored[index].rows, stored[index].rowByteCount), let next = sum(end, count),
                let rounded = roundUp(next, to: Self.alignment)
            else { throw MeraserError.badInput("\(path): tensor \(quoted(stored[index].name)) ends beyond any file") }
            end = rounded
        }
        self.stored = stored
        dataByteCount = end
    }

    /// What the file's directory says.
    var infos: [GGUFTensorInfo] {
        stored.map {
            GGUFTensorInfo(
                name: $0.name, typeID: $0.type.rawValue, dimensions: $0.shape.reversed(), offset: $0.offset)
        }
    }
}

extension GGUFLayout {
    /// The file's tensor and the place in it of each of Hugging Face's; of those that may stand alone or behind others,
    /// alone.
    var targets: [String: (name: String, place: Place)] {
        var targets: [String: (name: String, place: Place)] = [:]
        for (name, places) in places.sorted(by: { $0.key < $1.key }) {
            for place in places where targets[place.name] == nil || place.part == nil {
                targets[place.name] = (name, place)
            }
        }
        return targets
    }
}
