import Base
import Foundation
import Kernels
import Quant

/// A model as rank 0 names it to the others, who have the same file under the same name, and what it computes in.
public struct ModelReference: Sent, Hashable {
    /// An absolute path.
    public let path: String
    /// What the weights there must have as identity.
    public let sha256: String
    /// Precision of the forward.
    public let compute: Compute
    /// Precision of the backward.
    public let backward: Compute

    /// - Throws: what reading the weights throws: the first call for a model hashes all of them.
    public init(_ model: Transformer) throws {
        path = URL(fileURLWithPath: model.store.path).standardizedFileURL.path
        sha256 = try model.store.sha256()
        (compute, backward) = (model.compute, model.backward)
    }

    /// Reads one.
    public init(from message: inout MessageReader) throws {
        (path, sha256) = (try message.text(), try message.text())
        (compute, backward) = (try message.value(), try message.value())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(path)
        message.append(sha256)
        message.append(compute)
        message.append(backward)
    }

    /// Opens the model on this rank, on that instruction set.
    ///
    /// - Throws: a bad-input error if other weights are there, what opening throws.
    public func open(threads: Int?, isa: String) throws -> Transformer {
        let kernels = try KernelContext(threads: threads, isa: isa)
        let store = try openWeightStore(path: path)
        let found = try store.sha256()
        guard found == sha256 else {
            throw MeraserError.badInput(
                "\(path): its SHA-256 is \(found) here and \(sha256) on rank 0; copy the model of rank 0's host")
        }
        return try Transformer(store: store, kernels: kernels, compute: compute).with(
            compute: compute, backward: backward)
    }
}

extension Compute: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        let name = try message.text()
        guard let compute = Compute(rawValue: name) else {
            throw MeraserError.runtime("rank 0 computes in \(quoted(name)), which this rank does not know")
        }
        self = compute
    }

    /// Adds its name.
    public func write(to message: inout Message) { message.append(rawValue) }
}

extension Crew {
    /// Has the others open a model. Each refuses one whose weights are not rank 0's.
    public func provide(_ model: Transformer) throws -> ModelReference {
        let reference = try ModelReference(model)
        try provide(
            "model \(reference.path) \(reference.compute.rawValue) \(reference.backward.rawValue)",
            version: reference.sha256
        ) {
            var job = Message(.model)
            job.append(reference)
            return job
        }
        return reference
    }

    /// Has the others keep the adapters of a stack; gives the places where they keep them, lowest first.
    public func provide(_ adapters: [LoRAAdapter], as place: String) throws -> [String] {
        try adapters.enumerated().map { index, adapter in
            let name = "\(place) \(index)"
            let content = Message(AdapterContent(adapter))
            try provide(name, version: sha256Hex(content.bytes)) {
                var job = Message(.adapter)
                job.append(name)
                job.append(AdapterContent(adapter))
                return job
            }
            return name
        }
    }
}
