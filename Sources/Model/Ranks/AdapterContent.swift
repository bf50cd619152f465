import Base
import Kernels
import Quant

/// What an adapter has for each of its modules, without the numbers.
public struct AdapterLayout: Sent {
    private let config: LoRAConfig
    private let modules: [ModuleKey]

    /// That of an adapter.
    public init(_ adapter: LoRAAdapter) { (config, modules) = (adapter.config, adapter.modules) }

    /// An adapter of that layout with all factors zero.
    public func adapter(for model: DecoderSpec) -> LoRAAdapter {
        LoRAAdapter(config: config, modules: modules, for: model)
    }

    /// Reads one.
    public init(from message: inout MessageReader) throws {
        var config = LoRAConfig(
            r: try message.number(), loraAlpha: try message.number(), loraDropout: try message.number(),
            targetModules: Set(try message.values(Projection.self)), useRSLoRA: try message.bool())
        config.tokens = try message.numbers()
        config.layersToTransform = try message.numbers()
        let (ranked, ranks) = (try message.values(ModuleKey.self), try message.numbers(Int.self))
        config.rankPattern = Dictionary(zip(ranked, ranks)) { first, _ in first }
        let (scaled, alphas) = (try message.values(ModuleKey.self), try message.numbers(Double.self))
        config.alphaPattern = Dictionary(zip(scaled, alphas)) { first, _ in first }
        self.config = config
        modules = try message.values()
    }

    /// Adds it; equal layouts are equal bytes.
    public func write(to message: inout Message) {
        message.append(number: config.r)
        message.append(number: config.loraAlpha)
        message.append(number: config.loraDropout)
        message.append(config.targetModules.sorted { $0.rawValue < $1.rawValue })
        message.append(config.useRSLoRA)
        message.append(numbers: config.tokens)
        message.append(numbers: config.layersToTransform)
        let ranks = config.rankPattern.sorted { $0.key < $1.key }
        message.append(ranks.map(\.key))
        message.append(numbers: ranks.map(\.value))
        let alphas = config.alphaPattern.sorted { $0.key < $1.key }
        message.append(alphas.map(\.key))
        message.append(numbers: alphas.map(\.value))
        message.append(modules)
    }
}

/// An adapter with its numbers, on its way to another rank.
public struct AdapterContent: Sent {
    private let layout: AdapterLayout
    private let numbers: [Float]

    /// That of an adapter as it is now.
    public init(_ adapter: LoRAAdapter) {
        layout = AdapterLayout(adapter)
        numbers = adapter.parameters.toArray()
    }

    /// The adapter for a model of that configuration.
    ///
    /// - Throws: a runtime error if it is for another one.
    public func adapter(for model: DecoderSpec) throws -> LoRAAdapter {
        let adapter = layout.adapter(for: model)
        guard adapter.parameters.count == numbers.count else {
            throw MeraserError.runtime(
                "rank 0 sent an adapter of \(numbers.count) numbers, expected \(adapter.parameters.count)")
        }
        adapter.parameters.copy(from: numbers)
        return adapter
    }

    /// Reads one.
    public init(from message: inout MessageReader) throws {
        (layout, numbers) = (try message.value(), try message.numbers())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(layout)
        message.append(numbers: numbers)
    }
}

extension Projection: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        let name = try message.text()
        guard let projection = Projection(rawValue: name) else {
            throw MeraserError.runtime("rank 0 names the projection \(quoted(name)), which this rank does not know")
        }
        self = projection
    }

    /// Adds its name.
    public func write(to message: inout Message) { message.append(rawValue) }
}

extension ModuleKey: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        self.init(layer: try message.number(), projection: try message.value())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(number: layer)
        message.append(projection)
    }
}

extension PackedBatch: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        self.init()
        let (tokens, positions) = (try message.numbers(Int32.self), try message.numbers(Int32.self))
        let (counts, lengths) = (try message.numbers(Int.self), try message.numbers(Int.self))
        var start = 0
        for (count, length) in zip(counts, lengths) {
            guard count >= 0, count <= tokens.count - start, tokens.count == positions.count else {
                throw MeraserError.runtime("rank 0 sent a batch whose sequences are not those of its tokens")
            }
            let first = count > 0 ? Int(positions[start]) : 0
            append(tokens[start..<start + count], firstPosition: first, length: length)
            start += count
        }
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(numbers: tokens)
        message.append(numbers: positions)
        message.append(numbers: sequences.map(\.count))
        message.append(numbers: sequences.map(\.length))
    }
}
